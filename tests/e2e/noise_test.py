#!/usr/bin/env python3
"""If this fails, anybody who reaches a port can take a node or a proxy down, or fill its memory: random
bytes, broken HTTP/1, HTTP/2, TLS and gRPC, half-open and slow connections, on every port at once."""

import os
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import web  # noqa: E402
from lib.bookinfo import (Bookinfo, PORT, client_proxy, destination_rule, virtual_service,  # noqa: E402
                          weighted)
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, Load, wait_for  # noqa: E402

SECONDS = float(os.environ.get("WEFT_NOISE_SECONDS", "30"))
SEED = int(os.environ.get("WEFT_NOISE_SEED") or random.SystemRandom().randrange(1 << 32))

BURSTS, PLATEAU_KB, TOTAL_KB = 4, 4 * 1024, 256 * 1024

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def random_bytes(r):
    return r.randbytes(r.choice((1, 8, 100, 5000)))


def http1(r):
    lines = [b"GET / HTTP/1.1", b"POST /apis HTTP/1.1", b"GET / HTTP/9.9", b"\x00\x00 / HTTP/1.1",
             b"GET " + b"/a" * r.choice((1, 9000)) + b" HTTP/1.1", b"CONNECT : HTTP/1.1", b""]
    heads = [b"Host: x", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 5, 6",
             b"Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked", b": empty", b"No colon",
             b"X: " + b"y" * r.choice((10, 70000)), b"Connection: upgrade", b"\xff: \xfe",
             b"Upgrade: websocket", b"Expect: 100-continue"]
    body = [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"-1\r\n", r.randbytes(50)]
    picked = r.sample(heads, r.randrange(5))
    return b"\r\n".join([r.choice(lines), *picked, b"", r.choice(body)])


def json_write(r):
    body = r.choice((b"{" * 5000, b"[" * 100000, b'{"a":' * 2000, b'{"kind":"List"}', r.randbytes(300),
                     b'{"apiVersion":"v1","kind":"Service","metadata":{"name":"' + b"x" * 5000 + b'"}}'))
    path = r.choice((b"/weft/v1/batch", b"/api/v1/namespaces/default/services",
                     b"/apis/networking.istio.io/v1/namespaces/default/virtualservices"))
    return (b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)


def http2(r):
    frames = [frame(r.randrange(256), r.randrange(256), r.randrange(1 << 31), r.randbytes(r.randrange(60)))
              for _ in range(r.randrange(1, 20))]
    good = frame(4, 0, 0, b"")
    # Headers with HPACK indices that do not exist, floods of SETTINGS and PING, resets.
    evil = r.choice((frame(1, 5, 1, b"\xff\xff\xff\xff\x7f"), frame(4, 0, 0, b"") * 200,
                     frame(6, 0, 0, b"12345678") * 500, frame(1, 4, 1, b"\x82") +
                     b"".join(frame(9, 0, 1, b"\x00" * 100) for _ in range(300)),
                     b"".join(frame(1, 5, i, b"\x82\x84\x86\x41\x01a") + frame(3, 0, i, b"\0\0\0\x08")
                              for i in range(1, 400, 2)),
                     frame(8, 0, 0, b"\x7f\xff\xff\xff") * 3, b"".join(frames)))
    return PREFACE + good + evil


def grpc_ads(r):
    """A stream of the right shape whose messages are not."""
    def literal(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
    path = b"/envoy.service.discovery.v3.AggregatedDiscoveryService/" + r.choice(
        (b"StreamAggregatedResources", b"DeltaAggregatedResources"))
    head = (b"\x83\x86" + b"\x44" + bytes([len(path)]) + path + literal(b"content-type", b"application/grpc") +
            literal(b"te", b"trailers"))
    body = r.choice((b"\x0a\xff\xff\xff\xff\x0f", r.randbytes(40), b"\x12\x02\x0a\x00" * 50, b""))
    size = r.choice((len(body), len(body) + 5, 0xFFFFFFFF))
    message = bytes([r.choice((0, 0, 0, 1, 7))]) + struct.pack(">I", size) + body
    return PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, head) + frame(0, 0, 1, message)


def tls_hello(r):
    return b"\x16\x03\x01" + struct.pack(">H", r.randrange(1, 600)) + b"\x01\x00" + r.randbytes(300)


KINDS = [random_bytes, random_bytes, http1, http1, json_write, http2, http2, grpc_ads, tls_hello]


class Noise(threading.Thread):
    """One attacker of one port."""

    def __init__(self, addr, seed, until):
        super().__init__(daemon=True)
        self.addr, self.random, self.until = web.split_addr(addr), random.Random(seed), until
        self.count = 0

    def run(self):
        idle = []
        while time.monotonic() < self.until:
            try:
                s = socket.create_connection(self.addr, 2)
                s.settimeout(0.05)
                self._talk(s)
                # Some stay open and silent, some are reset, most are closed.
                fate = self.random.random()
                if fate < 0.1 and len(idle) < 20:
                    idle.append(s)
                    continue
                if fate < 0.3:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
            except OSError:
                pass
            self.count += 1
        for s in idle:
            s.close()

    def _talk(self, s):
        data = self.random.choice(KINDS)(self.random)
        try:
            if self.random.random() < 0.2:
                for i in range(0, min(len(data), 40)):
                    s.sendall(data[i:i + 1])
            else:
                s.sendall(data)
            if self.random.random() < 0.5:
                s.recv(4096)
        except OSError:
            pass


class RandomBytes(Case):
    @classmethod
    def begin(cls):
        cls.cluster = c = Cluster(n=3, ws=cls.ws, tls=True, flags=["--log-level", "error"]).start()
        Bookinfo(c, only=["reviews-v1", "reviews-v2"]).start().register()
        c.batch([destination_rule("reviews", ["v1", "v2"]),
                 virtual_service("reviews", weighted("reviews", [("v1", 50), ("v2", 50)]))])
        cls.proxy = client_proxy(c, 50, flags=["--log-level", "error"]).wait_ready()
        c.wait_proxies(1)

    def ports(self):
        n = self.cluster.node(1)
        return [n.api_addr, n.xds_addr, n.peer_addr, n.metrics_addr, self.proxy.admin,
                f"{self.proxy.address}:15001"]

    def burst(self, seconds, seed):
        """Noise on all ports; returns how many connections were tried."""
        until = time.monotonic() + seconds
        threads = [Noise(p, f"{seed}/{p.rpartition(':')[2]}/{i}", until)
                   for p in self.ports() for i in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return sum(t.count for t in threads)

    def test_noise(self):
        c, victim = self.cluster, self.cluster.node(1)
        processes = [victim.process, self.proxy.process]
        print(f"  seed {SEED}")
        load = Load(c, to=f"{self.proxy.address}:15001", host=f"reviews:{PORT}", path="/reviews",
                    rate=100, connections=8)
        # Pools, caches and the allocator fill up to what may be under way at a time; a leak goes on.
        steps, count = [], 0
        for i in range(BURSTS):
            before = {p.name: p.rss_kb() for p in processes}
            count += self.burst(SECONDS / BURSTS, f"{SEED} {i}")
            steps.append({p.name: p.rss_kb() - before[p.name] for p in processes})
        self.ws.check()
        r = load.finish()
        self.assertEqual((r["failed"], r["lost"]), (0, 0), r)

        # Everything works as before: a write through the victim reaches the proxy.
        revision = c.batch([virtual_service("reviews", weighted("reviews", [("v2", 100)]))])
        wait_for(lambda: victim.status()["revision"] >= revision, 10, "the node has the write")
        c.wait(revision)
        answer = web.get(f"{self.proxy.address}:15001", "/reviews",
                         headers={"Host": f"reviews:{PORT}"})
        self.assertEqual(answer.header("x-version"), "reviews-v2")
        self.assertEqual(web.get(victim.metrics_addr, "/metrics").status, 200)
        note(f"{count} connections of noise; growth a burst, KiB: {steps}; load p99 {r['p99_us']} us")
        self.assertGreater(count, 100)
        if c.sanitized():
            return  # freed memory stays in the sanitizer's quarantine
        for p in processes:
            self.assertLess(min(step[p.name] for step in steps[1:]), PLATEAU_KB, f"{p.name} grows")
            self.assertLess(sum(step[p.name] for step in steps), TOTAL_KB, f"{p.name} grew")


if __name__ == "__main__":
    main()
