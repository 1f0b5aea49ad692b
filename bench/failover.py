"""Leader gone under writes: time to the first acknowledged write, writes lost; against etcd.

Three nodes of each, every one in a network namespace of its own, default time-outs of all; the peers
are Debian's etcd and the current one (a Go module; without Go it is left out). One program (weft-regload) creates a new
object at fixed times over clients that are spread over the three addresses; a client whose server
is gone or silent for a second goes to the next. The leader goes in one of four ways (--kinds):

  kill      SIGKILL: its connections are reset
  stop      SIGSTOP: it says nothing, and its connections stay; no other node hears that it is gone
  hole      every packet from and to it vanishes, as when its cable is pulled
  transfer  SIGTERM: it hands over and ends

The figure is the time from there to the first acknowledgement of a write that was sent after it, at
any node. Then the node starts again, goes on or is heard again, and the next trial waits until all are
whole, and until nothing between them that a hole swallowed waits to be sent again. weft and each etcd take turns, at most ten trials of each kind at a time; the one whose turn it
is has the machine to itself. At its end every acknowledged object is looked for. Goals: kill p50 50
and p99 300 ms, stop and hole 450 and 900 ms, transfer p99 100 ms; nothing lost.

    bench/run failover --trials 100 --peer-trials 20 --save        the record: some 25 minutes
    bench/run failover --trials 100 --peer-trials 0                weft alone
"""

import functools
import signal
import time

from bench.lib.etcd import CURRENT, DEBIAN, Etcd, PACKAGE, version_of
from bench.lib.rows import Row, quantile
from bench.lib.talk import Talker
from bench.lib.wire import Wire
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace, wait_for

PROGRAMS = ("weftd", "weft-regload")
PEERS = ("etcd",)
GO_PEERS = ("etcd",)
NAMESPACES = True
PACKAGES = (PACKAGE, "libraft2", "liblmdb0")

CLIENTS = 256
TRIALS_A_ROUND = 10
GOALS = {"kill": (50, 300), "stop": (450, 900), "hole": (450, 900),
         "transfer": (None, 100)}  # p50 and p99, ms
WAYS = {"kill": "killed", "stop": "stopped", "hole": "black-holed", "transfer": "told to end"}
ETCD_PREFIX = "workloadentries.networking.istio.io/default/"
API_PATH = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"


def kinds_of(text):
    kinds = text.split(",")
    assert all(k in GOALS for k in kinds), f"kinds: {', '.join(GOALS)}"
    return kinds


def options(p):
    p.add_argument("--trials", type=int, default=10, help="of each kind; 100 for the record")
    p.add_argument("--peer-trials", type=int, help="of each etcd; as many as weft's, if not told; 0: none")
    p.add_argument("--kinds", type=kinds_of, default=list(GOALS), help="of " + ",".join(GOALS))
    p.add_argument("--rate", type=int, default=200, help="writes a second")


def quick(args):
    args.trials = args.peer_trials = 2


class Target:
    """A registry under steady writes. machines: the first of its three."""

    def __init__(self, run, ws, store, wire, machines, cluster, addr_of):
        self.cluster, self.wire, self.machines, self.ws = cluster, wire, machines, ws
        self.name = cluster.label if store == "etcd" else store
        self.ms = {kind: [] for kind in run.args.kinds}
        argv = [run.program("weft-regload"), "--store", store, "--rate", run.args.rate,
                "--clients", CLIENTS, "--timeout", 1000]
        for node in cluster.nodes:
            argv += ["--server", addr_of(node)]
        self.load = Talker(ws, f"load-{self.name}", argv + ["steady"])
        self.settle()

    def settle(self):
        """Writes go through, from now on."""
        self.load.command("spread")
        self.load.command(f"after {time.monotonic_ns()}")
        self.load.event("after")

    def trial(self, kind):
        leader = self.cluster.leader()
        machine = self.machines + self.cluster.nodes.index(leader)
        at = time.monotonic_ns()
        if kind == "kill":
            leader.process.kill()
        elif kind == "hole":
            self.wire.hole(machine)
            at = time.monotonic_ns()  # to make the hole takes some ms
        else:
            leader.process.signal(signal.SIGSTOP if kind == "stop" else signal.SIGTERM)
        self.load.command(f"after {at}")
        answer = self.load.event("after")
        self.ms[kind].append(answer["ms"])
        if kind == "stop":
            leader.process.signal(signal.SIGCONT)
        elif kind == "hole":
            self.wire.heal(machine)
        else:
            leader.process.stop()
            leader.start()
        self.whole()
        for i in range(len(self.cluster.nodes)):
            wait_for(lambda m=self.machines + i: self.wire.flows(m), 30, "what was lost is sent again")
        self.settle()
        return answer

    def lost(self):
        """Acknowledged objects that are nowhere."""
        path = self.ws.path(self.name + "-keys")
        self.load.command("keys " + path)
        self.load.event("keys")
        self.load.quit()
        self.totals = self.load.event("end")
        with open(path, encoding="ascii") as f:
            acked = set(f.read().split())
        assert acked, f"{self.name}: nothing was acknowledged"
        return len(acked - self.names()), len(acked)


class Weft(Target):
    def whole(self):
        """The node has caught up, and who led before knows that it leads no more."""
        def look():
            at = [n.status() for n in self.cluster.nodes]
            newest = max(s["revision"] for s in at)
            return (all(s["quorum"] and s["revision"] + 100 >= newest for s in at) and
                    sum(s["node"]["role"] == "leader" for s in at) == 1)
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


def makers(run):
    """name -> what starts weft or an etcd that is here, in a workspace; machines are numbered from
    1, 11 and 21."""
    peers = [(p, f"etcd-{v}") for p in (DEBIAN, CURRENT)
             if run.args.peer_trials != 0 and (v := version_of(p))]
    wire = Wire([10 * k + i for k in range(1 + len(peers)) for i in (1, 2, 3)])

    def weft(ws):
        c = Cluster(run.bin_dir, n=3, ws=ws, base_addr=wire.base, enter=wire.enter).start()
        return Weft(run, ws, "weft", wire, 1, c, lambda n: n.api_addr)

    def etcd(ws, program, label, first):
        c = Etcd(ws, program=program, label=label, base=wire.base, first=first, enter=wire.enter)
        return EtcdTarget(run, ws, "etcd", wire, first, c.start(), lambda n: n.client)

    out = {"weft": weft}
    for k, (program, label) in enumerate(peers):
        out[label] = functools.partial(etcd, program=program, label=label, first=10 * k + 11)
    return out


class Figures:
    """Of one registry, over all rounds."""

    def __init__(self, name, kinds):
        self.name, self.ms, self.lost, self.acked = name, {k: [] for k in kinds}, 0, 0


def one_round(run, figures, make, trials):
    with Workspace("bench-failover") as ws:
        target = make(ws)
        for kind in run.args.kinds:
            for _ in range(trials):
                answer = target.trial(kind)
                run.say(f"{figures.name} {kind}: {answer['ms']:.0f} ms")
            figures.ms[kind] += target.ms[kind]
        lost, acked = target.lost()
        figures.lost += lost
        figures.acked += acked
        run.say(f"{figures.name}: acknowledged {acked}, lost {lost}; {target.totals}")


QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1}


def row_of(weft, peer, kind, name):
    """peer: None, where there is none."""
    ours, theirs = weft.ms[kind], peer.ms[kind] if peer else []
    goal = dict(zip(QUANTILES, GOALS[kind])).get(name)
    return Row(f"leader {WAYS[kind]}, first acknowledged write {name}", "ms",
               quantile(ours, QUANTILES[name]), peer.name if peer else "-",
               quantile(theirs, QUANTILES[name]) if theirs else None, len(ours),
               ("value", goal) if goal else None,
               {"ours": ours, "peer": theirs} if name == "p50" else None)


def shares(trials, rounds):
    """So many in each round, spread evenly."""
    return [trials * (i + 1) // rounds - trials * i // rounds for i in range(rounds)]


def run(run):
    args, make = run.args, makers(run)
    figures = {name: Figures(name, args.kinds) for name in make}
    most = max(args.trials, args.peer_trials or 0)
    rounds = -(-most // TRIALS_A_ROUND)
    of = {name: shares(args.trials if name == "weft" or args.peer_trials is None else
                       args.peer_trials, rounds) for name in make}
    for i in range(rounds):
        for name, f in figures.items():
            if of[name][i]:
                one_round(run, f, make[name], of[name][i])
    weft, *peers = figures.values()
    peers = peers or [None]
    rows = [row_of(weft, p, kind, name) for kind in args.kinds for name in QUANTILES for p in peers]
    return rows + [Row("acknowledged writes lost", "writes", weft.lost, p.name if p else "-",
                       p.lost if p else None, len(args.kinds) * args.trials, ("value", 0))
                   for p in peers]
