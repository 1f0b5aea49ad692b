"""CPU a request of weft-proxy against nghttpx and HAProxy: h2c to h2c, 1 KB, one core.

As http1-proxy; h2load on 8 connections of 16 streams each (and 64 of one), nghttpd behind.
"""

from bench.lib.proxies import Bench, Streams
from bench.lib.rows import median_row
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-proxy")
PEERS = ("nghttpx", "haproxy", "nghttpd", "h2load")
PACKAGES = ("nghttp2-proxy", "haproxy", "nghttp2-client", "nghttp2-server", "libnghttp2-14")


def options(p):
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=int, default=3, help="of one measurement")


def quick(args):
    args.rounds, args.seconds = 1, 1


def run(run):
    many, _ = cases = [Streams(8, 16), Streams(64, 1)]
    with Workspace("bench-http2") as ws:
        bench = Bench(ws, run, h2=True)
        weft, nghttpx, haproxy = (bench.add(kind) for kind in ("weft", "nghttpx", "haproxy"))
        bench.once()
        bench.rounds(run.args.rounds, cases)
        rows = []
        for peer in (nghttpx, haproxy):
            for case in cases:
                goal = None
                if peer is nghttpx and case is many:
                    goal = [("ratio", 1.3), ("value", 6)]
                for name, unit, field in (("cpu", "us/request", "cpu_us"),
                                          ("latency p50", "us", "p50_us"),
                                          ("latency p99", "us", "p99_us")):
                    rows.append(median_row(f"{case.name}, {name}", unit,
                                           weft.values(case.name, field), peer.name,
                                           peer.values(case.name, field),
                                           goal if field == "cpu_us" else None))
        return rows
