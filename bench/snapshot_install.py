"""A follower with an empty disk gets 100 MB of state under writes: how long, and does anybody elect?

Three nodes of weft on loopback, filled by weft-regload with objects of 1 KB. Under steady writes to
the leader a follower is killed, its directory emptied, and it starts again: it asks the others who
it was, gets a checkpoint and the log behind it. The figure is the time from the start of the program
to the revision that the leader had then; the leader and the term must be the same afterwards. Goals:
3 s, no election.
"""

import shutil
import time

from bench.lib import registry, sample
from bench.lib.rows import Row, quantile
from bench.lib.talk import Talker
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace, wait_for

PROGRAMS = ("weftd", "weft-regload")
PEERS = ()
PACKAGES = ("libraft2", "liblmdb0")


def options(p):
    p.add_argument("--trials", type=int, default=5)
    p.add_argument("--megabytes", type=int, default=100)
    p.add_argument("--bytes", type=int, default=1000, help="of one object")
    p.add_argument("--rate", type=int, default=1000, help="writes a second meanwhile")


def quick(args):
    args.trials, args.megabytes = 1, 5


def trial(run, cluster):
    lead = cluster.leader()
    node = next(n for n in cluster.nodes if n is not lead)
    before = lead.status()
    node.process.kill()
    shutil.rmtree(node.data)
    anon = sample.memory_kb("Pss_Anon", lead.pid)
    began, peak = time.monotonic(), 0
    node.start()

    def there():
        nonlocal peak
        peak = max(peak, sample.memory_kb("Pss_Anon", lead.pid))
        return node.status()["revision"] >= before["revision"]
    wait_for(there, 60, f"{node.name} has the state", 0.01)
    ms = (time.monotonic() - began) * 1000
    after = lead.status()
    elections = after["term"] - before["term"]
    run.say(f"{ms:.0f} ms, {elections} elections, leader {(peak - anon) / 1024:+.1f} MB")
    wait_for(lambda: node.status()["quorum"], 30, f"{node.name} follows")
    return ms, elections, (peak - anon) / 1024


def run(run):
    args = run.args
    with Workspace("bench-install") as ws:
        cluster = Cluster(run.bin_dir, n=3, ws=ws).start()
        weft = registry.Target(run, "weft", cluster, lambda n: n.api_addr)
        weft.fill(args.megabytes * 1000000 // args.bytes, "--bytes", args.bytes)
        load = Talker(ws, "load", weft.argv("steady", "--rate", args.rate, "--first", 50000000))
        done = [trial(run, cluster) for _ in range(args.trials)]
        load.quit()
        totals = load.event("end")
        run.say(f"writes meanwhile: {totals}")
        ms = [d[0] for d in done]
        return [Row("empty disk to the leader's revision p50", "ms", quantile(ms, 0.5),
                    runs=len(ms), goal=("value", 3000), samples={"ours": ms}),
                Row("… the slowest", "ms", max(ms), runs=len(ms), goal=("value", 3000)),
                Row("elections", "terms", sum(d[1] for d in done), runs=len(ms), goal=("value", 0)),
                Row("leader's anonymous memory, most growth", "MB", max(d[2] for d in done),
                    runs=len(ms)),
                Row("writes failed meanwhile", "writes", totals["failed"], goal=("value", 0))]
