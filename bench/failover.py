"""Leader gone under writes: time to the first acknowledged write, writes lost; against Debian's etcd.

Three nodes of each on loopback, default time-outs of both. One program (weft-regload) creates a new
object at fixed times over clients that are spread over the three addresses; a client whose server
is gone or silent for a second goes to the next. The leader goes in one of three ways (--kinds):

  kill      SIGKILL: its connections are reset
  stop      SIGSTOP: it says nothing, and its connections stay; no other node hears that it is gone
  transfer  SIGTERM: it hands over and ends

The figure is the time from there to the first acknowledgement of a write that was sent after it, at
any node. Then the node starts again, or goes on, and the next trial waits until all are whole. weft
and etcd take turns. At the end every acknowledged object is looked for. Goals: kill p50 50 and p99
300 ms, stop 450 and 900 ms, transfer p99 100 ms; nothing lost.
"""

import signal
import time

from bench.lib.etcd import Etcd, PACKAGE
from bench.lib.rows import Row, quantile
from bench.lib.talk import Talker
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace, wait_for

PROGRAMS = ("weftd", "weft-regload")
PEERS = ("etcd",)
PACKAGES = (PACKAGE, "libraft2", "liblmdb0")

CLIENTS = 256
GOALS = {"kill": (50, 300), "stop": (450, 900), "transfer": (100, 100)}  # p50 and p99, ms
WAYS = {"kill": "killed", "stop": "stopped", "transfer": "told to end"}
ETCD_PREFIX = "workloadentries.networking.istio.io/default/"
API_PATH = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"


def kinds_of(text):
    kinds = text.split(",")
    assert all(k in GOALS for k in kinds), f"kinds: {', '.join(GOALS)}"
    return kinds


def options(p):
    p.add_argument("--trials", type=int, default=10, help="of each kind; 100 for the record")
    p.add_argument("--kinds", type=kinds_of, default=list(GOALS), help="of " + ",".join(GOALS))
    p.add_argument("--rate", type=int, default=200, help="writes a second")


def quick(args):
    args.trials = 2


class Target:
    """A registry under steady writes."""

    def __init__(self, run, ws, store, cluster, addr_of):
        self.cluster, self.store, self.ws = cluster, store, ws
        self.ms = {kind: [] for kind in run.args.kinds}
        argv = [run.program("weft-regload"), "--store", store, "--rate", run.args.rate,
                "--clients", CLIENTS, "--timeout", 1000]
        for node in cluster.nodes:
            argv += ["--server", addr_of(node)]
        self.load = Talker(ws, f"load-{store}", argv + ["steady"])
        self.settle()

    def settle(self):
        """Writes go through, from now on."""
        self.load.command("spread")
        self.load.command(f"after {time.monotonic_ns()}")
        self.load.event("after")

    def trial(self, kind):
        leader = self.cluster.leader()
        at = time.monotonic_ns()
        if kind == "kill":
            leader.process.kill()
        else:
            leader.process.signal(signal.SIGSTOP if kind == "stop" else signal.SIGTERM)
        self.load.command(f"after {at}")
        answer = self.load.event("after")
        self.ms[kind].append(answer["ms"])
        if kind == "stop":
            leader.process.signal(signal.SIGCONT)
        else:
            leader.process.stop()
            leader.start()
        self.whole()
        self.settle()
        return answer

    def lost(self):
        """Acknowledged objects that are nowhere."""
        path = self.ws.path(self.store + "-keys")
        self.load.command("keys " + path)
        self.load.event("keys")
        self.load.quit()
        self.totals = self.load.event("end")
        with open(path, encoding="ascii") as f:
            acked = set(f.read().split())
        assert acked, f"{self.store}: nothing was acknowledged"
        return len(acked - self.names()), len(acked)


class Weft(Target):
    def whole(self):
        """The new node has caught up: it serves a linearizable read as the others do."""
        def look():
            at = [n.status() for n in self.cluster.nodes]
            newest = max(s["revision"] for s in at)
            return all(s["quorum"] and s["revision"] + 100 >= newest for s in at)
        wait_for(look, 30, "weft is whole")

    def names(self):
        out, cont = set(), ""
        while True:
            r = self.cluster.api("GET", f"{API_PATH}?limit=500&continue={cont}", timeout=30)
            assert r.status == 200, r
            body = r.json()
            out.update(o["metadata"]["name"] for o in body["items"])
            cont = body["metadata"].get("continue", "")
            if not cont:
                return out


class EtcdTarget(Target):
    def whole(self):
        self.cluster.wait_ready()

    def names(self):
        return self.cluster.names(ETCD_PREFIX)


def row_of(weft, etcd, kind, q):
    ours, theirs = weft.ms[kind], etcd.ms[kind]
    return Row(f"leader {WAYS[kind]}, first acknowledged write p{q}", "ms", quantile(ours, q / 100),
               "etcd", quantile(theirs, q / 100), len(ours), ("value", GOALS[kind][q == 99]),
               {"ours": ours, "peer": theirs} if q == 50 else None)


def run(run):
    with Workspace("bench-failover") as ws:
        weft = Weft(run, ws, "weft", Cluster(run.bin_dir, n=3, ws=ws).start(), lambda n: n.api_addr)
        etcd = EtcdTarget(run, ws, "etcd", Etcd(ws).start(), lambda n: n.client)
        for kind in run.args.kinds:
            for i in range(run.args.trials):
                for t in (weft, etcd):
                    answer = t.trial(kind)
                    run.say(f"{t.store} {kind} {i + 1}: {answer['ms']:.0f} ms")
        lost, acked = weft.lost()
        etcd_lost, etcd_acked = etcd.lost()
        run.say(f"acknowledged: weft {acked}, etcd {etcd_acked}")
        for t in (weft, etcd):
            run.say(f"{t.store}: {t.totals}")
        rows = [row_of(weft, etcd, kind, q) for kind in run.args.kinds for q in (50, 99)]
        return rows + [Row("acknowledged writes lost", "writes", lost, "etcd", etcd_lost,
                           run.args.trials * len(run.args.kinds), ("value", 0))]
