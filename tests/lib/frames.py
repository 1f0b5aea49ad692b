"""Frames of the peers' port (registry/raft/frame.h), for those who are no peer."""

import os
import re
import struct

RAFT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "registry", "raft")
FRAME_HELLO, FRAME_REFUSE, FRAME_ENROLL, FRAME_ENROLLED = 1, 2, 3, 4
CONTROL, BULK = 1, 2
HEAD_BYTES = 40


def defined(header, name):
    with open(os.path.join(RAFT, header), encoding="utf-8") as f:
        return int(re.search(rf"#define {name} (\d+)", f.read()).group(1))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(kind, cluster, sender, payload):
    head = struct.pack("<II", 0x31504657, len(payload))
    rest = struct.pack("<HHQQQ", kind, defined("frame.h", "FRAME_GREETING_VERSION"), cluster, sender, 0)
    return head + struct.pack("<I", crc32c(head + rest + payload)) + rest + payload


def hello(cluster, sender, to, role=CONTROL):
    """Of a node that stores nothing yet and has no name."""
    reads = [defined("version.h", f"VERSION_{end}EST") for end in ("OLD", "NEW")]
    return frame(FRAME_HELLO, cluster, sender, struct.pack("<IQQQIIIII", role, to, 1, 0, 0, *reads, 0, 0))
