"""A node's side of the peers' port, as far as the greeting: whoever holds a member's certificate.

    with dial(node, ca, certs) as s:
        s.sendall(hello(cluster_of(s), sender=2, to=1))
        greeting(s)                       # FRAME_HELLO: it was let in; FRAME_REFUSE; None: cut off
"""

import os
import re
import socket
import ssl
import struct

from .frames import HEAD_BYTES


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
