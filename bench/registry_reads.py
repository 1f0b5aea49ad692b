"""Linearizable reads through the public API against Debian's etcd: reads/s, latency, CPU a read.

Three nodes of each on loopback, default settings. One program (weft-regload) reads the same objects
of 256 bytes from both: weft over HTTP/1.1 (GET with consistency=linearizable, answered with JSON
that carries the revision), etcd over gRPC (KV/Range of one key, which is linearizable). All
connections go to the leader. Random keys. Rounds alternate. Then three new nodes of each are filled with
100,000 such objects: anonymous memory of the leader and of the larger follower, just filled, and when
half a minute without writes and one second of them by one client are over: a weftd has the log in memory
until its next checkpoint, which it makes after much log, or after less when the last is 30 s old. Goals:
no fewer than etcd's reads/s, p99 not above its; 50 MB at rest.
"""

import time

from bench.lib import registry, sample
from bench.lib.etcd import PACKAGE
from bench.lib.rows import Row
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-regload")
PEERS = ("etcd",)
PACKAGES = (PACKAGE, "libraft2", "liblmdb0")


def options(p):
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=5, help="of one measurement")
    p.add_argument("--keys", type=int, default=10000)
    p.add_argument("--memory-keys", type=int, default=100000, help="when memory is measured")
    p.add_argument("--rest", type=int, default=31, help="seconds between filling and rest")
    p.add_argument("--clients", type=registry.clients_of, default=[1, 64, 512])


def quick(args):
    args.rounds, args.seconds, args.keys, args.memory_keys, args.rest = 1, 1, 1000, 10000, 1


def anon_mb(target):
    """Of the leader, and of the larger of the others."""
    leader = target.cluster.leader()
    mb = {n: sample.settled_kb("Pss_Anon", n.pid) / 1024 for n in target.cluster.nodes}
    target.run.say(f"{target.store}: " + ", ".join(f"{n.name} {mb[n]:.1f} MB" for n in mb))
    return mb.pop(leader), max(mb.values())


def memory(run):
    keys, args = run.args.memory_keys, run.args
    with Workspace("bench-memory") as ws:
        both = registry.start(run, ws)
        for t in both:
            t.fill(keys)
        filled = list(map(anon_mb, both))
        time.sleep(args.rest)
        for t in both:
            t.load("writes", "--clients", 1, "--keys", keys, "--seconds", 1)
        rested = list(map(anon_mb, both))
        return [Row(f"anonymous memory at {keys:,} keys, {when}, {who}", "MB", ours, "etcd", theirs,
                    goal=goal)
                for when, goal, mb in (("just filled", None, filled), ("at rest", ("value", 50), rested))
                for who, ours, theirs in zip(("leader", "follower"), *mb)]


def run(run):
    args = run.args
    with Workspace("bench-reads") as ws:
        both = registry.start(run, ws)
        for t in both:
            t.fill(args.keys)
        registry.rounds(both, "reads", args.rounds, args.clients, args.keys)
        rows = registry.table(both, "reads", args.clients, 1)
    return rows + memory(run)
