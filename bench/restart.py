"""A node with 100 MB of state is killed and starts again: time to its first reads; beside Debian's etcd.

Three nodes of each on loopback, filled by weft-regload with objects of 1 KB. A follower gets SIGKILL
and starts again. The figures are the times from the start of the program to its first answer of an
object from its own state (weft: GET; etcd: a serializable range) and to its first linearizable one.
weft and etcd take turns. Goal: reads within 200 ms. Anonymous memory is that after the last start.
"""

import base64
import time

from bench.lib import registry, sample
from bench.lib.etcd import PACKAGE
from bench.lib.rows import Row, quantile
from tests.lib import web
from tests.lib.process import Workspace, wait_for

PROGRAMS = ("weftd", "weft-regload")
PEERS = ("etcd",)
PACKAGES = (PACKAGE, "libraft2", "liblmdb0")

NAME = "w-00000017"
LIFE_S = 1
API_PATH = f"/apis/networking.istio.io/v1/namespaces/default/workloadentries/{NAME}"
ETCD_KEY = base64.b64encode(f"workloadentries.networking.istio.io/default/{NAME}".encode()).decode()


def options(p):
    p.add_argument("--trials", type=int, default=10)
    p.add_argument("--megabytes", type=int, default=100)
    p.add_argument("--bytes", type=int, default=1000, help="of one object")


def quick(args):
    args.trials, args.megabytes = 2, 5


def weft_read(node, linearizable):
    query = "?consistency=linearizable" if linearizable else ""
    return web.request(node.api_addr, "GET", API_PATH + query, timeout=2).status == 200


def etcd_read(node, linearizable):
    answer = node.post("/kv/range", {"key": ETCD_KEY, "serializable": not linearizable}, timeout=2)
    return bool(answer.get("kvs"))


class Trial:
    def __init__(self, run, target, read):
        self.run, self.target, self.read = run, target, read
        self.local, self.linearizable = [], []

    def live(self):
        """A node that ends again and again, and does nothing in between, has its state made anew
        (registry/store_internal.h, STORE_UNCLEAN_MAX): between two ends there is some life."""
        self.target.load("writes", "--keys", 1000, "--clients", 1, "--seconds", LIFE_S, "--bytes",
                         self.run.args.bytes)

    def once(self):
        cluster = self.target.cluster
        lead = cluster.leader()
        node = next(n for n in cluster.nodes if n is not lead)
        node.process.kill()
        began = time.monotonic()
        node.start()
        for linearizable, out in ((False, self.local), (True, self.linearizable)):
            wait_for(lambda on=linearizable: self.read(node, on), 60, f"{node.name} reads", 0.001)
            out.append((time.monotonic() - began) * 1000)
        self.live()
        self.run.say(f"{self.target.store}: {self.local[-1]:.0f} ms, "
                     f"linearizable {self.linearizable[-1]:.0f} ms")
        self.anon_mb = sample.memory_kb("Pss_Anon", node.pid) / 1024


def run(run):
    args = run.args
    with Workspace("bench-restart") as ws:
        both = registry.start(run, ws)
        keys = args.megabytes * 1000000 // args.bytes
        for t in both:
            t.fill(keys, "--bytes", args.bytes)
        weft, etcd = (Trial(run, t, r) for t, r in zip(both, (weft_read, etcd_read)))
        for _ in range(args.trials):
            weft.once()
            etcd.once()
        n = args.trials

        def row(name, q, ours, theirs, goal=None):
            return Row(f"{name} p{q}", "ms", quantile(ours, q / 100), "etcd",
                       quantile(theirs, q / 100), n, goal, {"ours": ours, "peer": theirs})
        return [row("first read of its state", 50, weft.local, etcd.local, ("value", 200)),
                row("first read of its state", 99, weft.local, etcd.local, ("value", 200)),
                row("first linearizable read", 50, weft.linearizable, etcd.linearizable),
                row("first linearizable read", 99, weft.linearizable, etcd.linearizable),
                Row("anonymous memory, restarted", "MB", weft.anon_mb, "etcd", etcd.anon_mb)]
