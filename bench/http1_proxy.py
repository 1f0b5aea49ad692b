"""CPU a request of weft-proxy against nginx and HAProxy: HTTP/1.1 keep-alive, 1 KB, one core.

weft-proxy gets its configuration from a weftd; the peers do the same work (upstream connections
kept alive, request id and forwarded-proto added). Access logs are off, but for one case in which
weft-proxy and nginx both write theirs to a file. Closed loop of wrk and a fixed
rate of weft-load; medians of rounds in which all take turns. Latency rows are what the generator
saw at these settings, on a machine where it shares the other core with the upstream.
"""

from bench.lib.proxies import Bench, Closed, Paced
from bench.lib.rows import Row, median_row
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-proxy", "weft-load")
PEERS = ("nginx", "haproxy", "wrk")
PACKAGES = ("nginx-light", "haproxy", "wrk")


def options(p):
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=int, default=3, help="of one measurement")
    p.add_argument("--connections", type=lambda s: [int(n) for n in s.split(",")], default=[32, 256])
    p.add_argument("--rate", type=int, default=1000, help="of the paced case; 0: without")


def quick(args):
    args.rounds, args.seconds = 1, 1


def rows_of(weft, peer, cases):
    out = []
    for case in cases:
        closed = isinstance(case, Closed)
        for name, unit, field, goal in (("cpu", "us/request", "cpu_us", ("ratio", 0.9)),
                                        ("latency p50", "us", "p50_us", None),
                                        ("latency p99", "us", "p99_us", None)):
            out.append(median_row(f"{case.name}, {name}", unit, weft.values(case.name, field),
                                  peer.name, peer.values(case.name, field),
                                  goal if closed else None))
    return out


def run(run):
    cases = [Closed(n) for n in run.args.connections]
    cases += [Paced(run.args.rate)] if run.args.rate else []
    with Workspace("bench-http1") as ws:
        bench = Bench(ws, run, h2=False)
        weft, nginx, haproxy, *logging = (bench.add(kind) for kind in (
            "weft", "nginx", "haproxy", "weft-log", "nginx-log"))
        bench.once()
        bench.rounds(run.args.rounds, cases, [weft, nginx, haproxy])
        bench.rounds(run.args.rounds, cases[:1], logging)
        rows = rows_of(weft, nginx, cases) + rows_of(weft, haproxy, cases)
        name, cpu = cases[0].name, [p.values(cases[0].name, "cpu_us") for p in logging]
        rows.append(median_row(f"{name}, access log on, cpu", "us/request", cpu[0], "nginx", cpu[1]))
        for peer in (nginx, haproxy):
            rows.append(Row("memory, no service configured (RSS)", "MB", weft.rss_empty_kb / 1024,
                            peer.name, peer.rss_empty_kb / 1024, goal=("value", 10)))
        return rows
