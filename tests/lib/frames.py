"""Frames of the peers' port (registry/raft/frame.h), for those who are no peer."""

import struct

FRAME_HELLO, FRAME_REFUSE, FRAME_ENROLL, FRAME_ENROLLED = 1, 2, 3, 4
GREETING_VERSION = 3


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(kind, cluster, sender, payload):
    head = struct.pack("<II", 0x31504657, len(payload))
    rest = struct.pack("<HHQQQ", kind, GREETING_VERSION, cluster, sender, 0)
    return head + struct.pack("<I", crc32c(head + rest + payload)) + rest + payload


def hello(cluster, sender, to):
    """Of a node without a name, whose program reads version 3."""
    return frame(FRAME_HELLO, cluster, sender, struct.pack("<IQQQIIIII", 1, to, 1, 0, 0, 3, 3, 0, 0))
