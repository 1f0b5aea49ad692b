"""A node's side of the peers' port, as far as the greeting: whoever holds a member's certificate.

    with dial(node, certs, ca) as s:
        s.sendall(hello(cluster_of(s), sender=2, to=1))
        greeting(s)                       # FRAME_HELLO: it was let in; FRAME_REFUSE; None: cut off
"""

import os
import re
import socket
import ssl
import struct

from .corpus import ROOT

FRAME_HELLO, FRAME_REFUSE = 1, 2
CONTROL, BULK = 1, 2
HEAD_BYTES = 40


def constant(header, name):
    """Of a header below registry/raft: tests say what the program under test says."""
    with open(os.path.join(ROOT, "registry", "raft", header), encoding="utf-8") as f:
        found = re.search(rf"^#define {name} (\d+)", f.read(), re.M)
    assert found, f"{header} has no {name}"
    return int(found.group(1))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(kind, cluster, sender, payload):
    """registry/raft/frame.h"""
    head = struct.pack("<II", 0x31504657, len(payload))
    version = constant("frame.h", "FRAME_GREETING_VERSION")
    rest = struct.pack("<HHQQQ", kind, version, cluster, sender, 0)
    return head + struct.pack("<I", crc32c(head + rest + payload)) + rest + payload


def hello(cluster, sender, to, role=CONTROL):
    """Of a node that stores nothing yet and has no name."""
    return frame(FRAME_HELLO, cluster, sender, struct.pack(
        "<IQQQIIIII", role, to, 1, 0, 0, constant("version.h", "VERSION_OLDEST"),
        constant("version.h", "VERSION_NEWEST"), 0, 0))


def dial(node, ca, certs=None):
    """A TLS connection to a node's peer port. ca: the file; certs: whose certificate is shown."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_REQUIRED
    ctx.load_verify_locations(ca)
    if certs:
        ctx.load_cert_chain(os.path.join(certs, "node.crt"), os.path.join(certs, "node.key"))
    ip, port = node.peer_addr.rsplit(":", 1)
    return ctx.wrap_socket(socket.create_connection((ip, int(port)), timeout=10))


def names(cert):
    """(cluster, node) of a certificate, as getpeercert() gives it."""
    found = re.search(r"weft://([0-9a-f]{16})/node/(\d+)", str(cert))
    return int(found.group(1), 16), int(found.group(2))


def greeting(s):
    """The type of the next frame, or None: the connection was ended."""
    got = b""
    try:
        while len(got) < HEAD_BYTES:
            part = s.recv(4096)
            if not part:
                return None
            got += part
    except (ssl.SSLError, ConnectionError):
        return None
    return struct.unpack_from("<H", got, 12)[0]


def until_cut(s):
    """Reads what still comes, to the end. TimeoutError: it goes on, or is silent."""
    try:
        while s.recv(1 << 16):
            pass
    except TimeoutError:
        raise
    except OSError:  # an alert, a reset
        pass
