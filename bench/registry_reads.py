"""Linearizable reads through the public API against Debian's etcd: reads/s, latency, CPU a read.

Three nodes of each on loopback, default settings. One program (weft-regload) reads the same objects
of 256 bytes from both: weft over HTTP/1.1 (GET with consistency=linearizable, answered with JSON
that carries the revision), etcd over gRPC (KV/Range of one key, which is linearizable). All
connections go to the leader. Random keys. Rounds alternate. Goals: no fewer than etcd's reads/s,
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
    with Workspace("bench-reads") as ws:
        both = registry.start(run, ws)
        for t in both:
            t.fill(args.keys)
        registry.rounds(both, "reads", args.rounds, args.clients, args.keys)
        return registry.table(both, "reads", args.clients, 1)
