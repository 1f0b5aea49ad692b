"""10,000 watches on one node: time until an event has reached the last; and what 1,000 cost that never read.

Three nodes of weft on loopback; one program (weft-watchload) has all watches of WorkloadEntries at
one node. One of 256 bytes is written there; the figure is the time from before the request to
the event at the last watcher, in another process on the same cores. Then another program opens
watches and never reads; after so many changes that each queue is full the node's anonymous memory
is compared with what it was before. Goals: 150 ms, 64 KiB a reader.
"""

import time

from bench.lib import sample
from bench.lib.rows import Row, quantile
from bench.lib.talk import Talker
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace, wait_for

PROGRAMS = ("weftd", "weft-watchload")
PEERS = ()
PACKAGES = ("libraft2", "liblmdb0")

WATCH = "/apis/networking.istio.io/v1/namespaces/default/workloadentries?watch=1"


def options(p):
    p.add_argument("--watchers", type=int, default=10000)
    p.add_argument("--silent", type=int, default=1000)
    p.add_argument("--trials", type=int, default=20)


def quick(args):
    args.watchers, args.silent, args.trials = 500, 100, 3


def put(cluster, name, text):
    """Creates or changes a WorkloadEntry; returns when it is acknowledged."""
    cluster.batch([{"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
                    "metadata": {"name": name, "namespace": "default",
                                 "annotations": {"text": text}},
                    "spec": {"address": "10.0.0.1"}}])


def watchload(run, ws, node, name, watchers, silent=0):
    p = Talker(ws, name, [run.program("weft-watchload"), "--server", node.api_addr, "--path", WATCH,
                          "--watchers", watchers, "--silent", silent])
    p.event("ready", 120)
    return p


def told(cluster, node, load, text):
    at = time.monotonic_ns()
    put(cluster, "told", text)
    load.command(f"after {at}")
    return load.event("after", 30)


def run(run):
    args = run.args
    with Workspace("bench-fanout") as ws:
        cluster = Cluster(run.bin_dir, n=3, ws=ws).start()
        node = cluster.nodes[0]
        put(cluster, "told", "begin")
        empty = sample.memory_kb("Pss_Anon", node.pid)
        load = watchload(run, ws, node, "watchers", args.watchers)
        full = sample.memory_kb("Pss_Anon", node.pid)
        cpu, last = sample.cpu_ns(node.pid), []
        for i in range(args.trials):
            answer = told(cluster, node, load, f"{i} " + "x" * 200)
            last.append(answer["last_ms"])
            run.say(f"first {answer['first_ms']:.1f}, half {answer['p50_ms']:.1f}, "
                    f"last {answer['last_ms']:.1f} ms")
        cpu_us = (sample.cpu_ns(node.pid) - cpu) / 1000 / args.trials / args.watchers
        load.quit()
        wait_for(lambda: node.metrics()["weft_api_watches"] == 0, 20, "watches are gone")
        before = sample.memory_kb("Pss_Anon", node.pid)
        silent = watchload(run, ws, node, "silent", 1, args.silent)
        for i in range(300):
            put(cluster, f"noise-{i % 10}", f"{i} " + "y" * 4000)
        told(cluster, node, silent, "end")
        each = (sample.memory_kb("Pss_Anon", node.pid) - before) / args.silent
        silent.quit()
        return [Row("event at the last watcher p50", "ms", quantile(last, 0.5), runs=len(last),
                    goal=("value", 150), samples={"ours": last}),
                Row("event at the last watcher, the slowest", "ms", max(last), runs=len(last),
                    goal=("value", 150)),
                Row("cpu of the node", "us/event", cpu_us, runs=len(last)),
                Row("memory a watch", "KB", (full - empty) / args.watchers),
                Row("memory a watch that is never read", "KB", each, goal=("value", 64))]
