"""Acknowledged writes through the public API against Debian's etcd: writes/s, latency, CPU a write.

Three nodes of each on loopback, data on the same disk, default settings. One program (weft-regload)
writes the same 256-byte objects to both: weft over HTTP/1.1 and JSON (PUT of a WorkloadEntry, which
is parsed, validated, defaulted and merged), etcd over gRPC (KV/Put). All connections go to the
leader. Random keys of a set that is there before. Rounds alternate. Goals: ≥ 2 × etcd's writes/s,
p99 not above its.
"""

from bench.lib import registry
from bench.lib.etcd import PACKAGE
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-regload")
PEERS = ("etcd",)
PACKAGES = (PACKAGE, "libraft2", "liblmdb0")


def options(p):
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=5, help="of one measurement")
    p.add_argument("--keys", type=int, default=10000)
    p.add_argument("--clients", type=registry.clients_of, default=[1, 64, 512])


def quick(args):
    args.rounds, args.seconds, args.keys = 1, 1, 1000


def run(run):
    args = run.args
    with Workspace("bench-writes") as ws:
        both = registry.start(run, ws)
        for t in both:
            t.fill(args.keys)
        registry.rounds(both, "writes", args.rounds, args.clients, args.keys)
        return registry.table(both, "writes", args.clients, 2)
