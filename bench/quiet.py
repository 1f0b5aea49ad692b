"""Half an hour at twice the CPU load that the machine has cores for: elections without a cause.

Three nodes of weft, every one in a network namespace of its own, default time-outs, take writes at a
fixed rate; twice as many processes as there are cores do nothing but compute beside them. Nobody
dies, nothing is cut off: every election is one too many. They are counted by the terms that nodes
tell (weft_raft_term) and by the leaders that each has seen (weft_raft_leader_changes_total). Every
second a linearizable read goes to each node; the longest of them says how near a time-out was.
Goal: no election.
"""

import os
import subprocess
import sys
import time

from bench.lib.rows import Row, quantile
from bench.lib.talk import Talker
from bench.lib.wire import Wire
from tests.lib import web
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-regload")
PEERS = ()
PACKAGES = ("libraft2", "liblmdb0")
NAMESPACES = True

READ = "/api/v1/namespaces/default?consistency=linearizable"
BURN = "while True: pass"


def options(p):
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--burners", type=int, default=2 * os.cpu_count(), help="processes that compute")
    p.add_argument("--nice", type=int, default=0, help="of the burners")
    p.add_argument("--rate", type=int, default=200, help="writes a second")


def quick(args):
    args.minutes = 0.2


def raft(cluster):
    """(highest term, leaders seen by all nodes together)"""
    all_of = [n.metrics() for n in cluster.nodes]
    return (int(max(m["weft_raft_term"] for m in all_of)),
            int(sum(m["weft_raft_leader_changes_total"] for m in all_of)))


def read_ms(node):
    start = time.monotonic()
    r = node.api("GET", READ, timeout=30)
    assert r.status == 200, r
    return (time.monotonic() - start) * 1000


def watch(run, cluster):
    """Until the time is over; linearizable reads' times, and how many were refused."""
    ms, refused, end = [], 0, time.monotonic() + run.args.minutes * 60
    told = time.monotonic()
    while time.monotonic() < end:
        for node in cluster.nodes:
            try:
                ms.append(read_ms(node))
            except (AssertionError, *web.NO_ANSWER):
                refused += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            run.say(f"term, leaders seen: {raft(cluster)}; load {os.getloadavg()[0]:.1f}")
        time.sleep(1)
    return ms, refused


def run(run):
    args = run.args
    with Workspace("bench-quiet") as ws:
        wire = Wire((1, 2, 3))
        cluster = Cluster(run.bin_dir, n=3, ws=ws, base_addr=wire.base, enter=wire.enter).start()
        load = Talker(ws, "load", [run.program("weft-regload"), "--store", "weft", "--rate", args.rate,
                                   "--clients", 64, "--timeout", 10000] +
                      [a for n in cluster.nodes for a in ("--server", n.api_addr)] + ["steady"])
        term, seen = raft(cluster)
        burners = [subprocess.Popen([sys.executable, "-c", BURN],
                                    preexec_fn=lambda: os.nice(args.nice))
                   for _ in range(args.burners)]
        try:
            ms, refused = watch(run, cluster)
        finally:
            for b in burners:
                b.kill()
                b.wait()
        now, changes = raft(cluster)
        load.quit()
        totals = load.event("end")
        run.say(f"writes: {totals}")
        return [Row("elections", "elections", now - term, goal=("value", 0)),
                Row("changes of leader, all nodes", "changes", changes - seen, goal=("value", 0)),
                Row("linearizable reads refused", "reads", refused, runs=len(ms) + refused,
                    goal=("value", 0)),
                Row("linearizable read p99", "ms", quantile(ms, 0.99), runs=len(ms)),
                Row("linearizable read, longest", "ms", max(ms), runs=len(ms)),
                Row("acknowledged writes", "writes", totals["done"]),
                Row("failed writes", "writes", totals["failed"], goal=("value", 0))]
