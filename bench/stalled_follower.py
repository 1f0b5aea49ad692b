"""A follower is stopped for a minute under 20,000 writes a second: what the leader's memory does.

Three nodes of weft on loopback. weft-regload changes random objects of 256 bytes at the leader as
fast as its clients get answers, while a follower stands still (SIGSTOP). The figure is the most that
the leader's anonymous memory grows above what it was under the same load before. Then the follower
goes on, and the time until it has caught up is taken. Goal: 16 MB. The rate that this machine gave is a
row of its own.
"""

import signal
import threading
import time

from bench.lib import registry, sample
from bench.lib.rows import Row
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace, wait_for

PROGRAMS = ("weftd", "weft-regload")
PEERS = ()
PACKAGES = ("libraft2", "liblmdb0")


def options(p):
    p.add_argument("--seconds", type=int, default=60, help="that the follower stands still")
    p.add_argument("--warm", type=int, default=20, help="seconds of the same load before")
    p.add_argument("--clients", type=int, default=512)
    p.add_argument("--keys", type=int, default=10000)


def quick(args):
    args.seconds, args.warm, args.keys = 3, 2, 1000


def loaded(weft, lead, args, seconds, look):
    """Runs the load, and look() all the while; the totals. Who leads is not asked again: a node that
    stands still would not answer."""
    out = {}

    def load():
        out.update(weft.load("writes", "--clients", args.clients, "--keys", args.keys,
                             "--seconds", seconds, nodes=[lead]))
    t = threading.Thread(target=load)
    t.start()
    while t.is_alive():
        look()
        time.sleep(0.2)
    t.join()
    return out


def run(run):
    args = run.args
    with Workspace("bench-stalled") as ws:
        cluster = Cluster(run.bin_dir, n=3, ws=ws).start()
        weft = registry.Target(run, "weft", cluster, lambda n: n.api_addr)
        weft.fill(args.keys)
        lead = cluster.leader()
        follower = next(n for n in cluster.nodes if n is not lead)
        kb = []

        def look():
            kb.append(sample.memory_kb("Pss_Anon", lead.pid))
        loaded(weft, lead, args, args.warm, look)
        before = max(kb)
        kb.clear()
        follower.process.signal(signal.SIGSTOP)
        totals = loaded(weft, lead, args, args.seconds, look)
        most = max(kb)
        began = time.monotonic()
        revision = lead.status()["revision"]
        follower.process.signal(signal.SIGCONT)
        wait_for(lambda: follower.status()["revision"] >= revision, 120, "it catches up", 0.01)
        caught = (time.monotonic() - began) * 1000
        run.say(f"leader {before / 1024:.1f} MB before, {most / 1024:.1f} MB at most; {totals}")
        return [Row("leader's anonymous memory before", "MB", before / 1024),
                Row("most growth while a follower stands still", "MB", (most - before) / 1024,
                    goal=("value", 16)),
                Row("writes meanwhile", "1/s", totals["per_second"], goal=("value", 20000, "min")),
                Row("writes failed", "writes", totals["failed"], goal=("value", 0)),
                Row("follower caught up after", "ms", caught)]
