"""Acknowledged writes through the public API against Debian's etcd: writes/s, latency, CPU a write.

Three nodes of each on loopback, data on the same disk, default settings. One program (weft-regload)
writes the same 256-byte objects to both: weft over HTTP/1.1 and JSON (PUT of a WorkloadEntry, which
is parsed, validated, defaulted and merged), etcd over gRPC (KV/Put). All connections go to the
leader. Random keys of a set that is there before. Rounds alternate.
"""

from bench.lib import sample
from bench.lib.etcd import Etcd, PACKAGE
from bench.lib.rows import median_row
from tests.lib.cluster import Cluster, Workspace

import json
import subprocess

PROGRAMS = ("weftd", "weft-regload")
PEERS = ("etcd",)
PACKAGES = (PACKAGE, "libraft2", "liblmdb0")


def options(p):
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=5, help="of one measurement")
    p.add_argument("--keys", type=int, default=10000)
    p.add_argument("--clients", type=lambda s: [int(n) for n in s.split(",")], default=[1, 64])


def quick(args):
    args.rounds, args.seconds, args.keys = 1, 1, 1000


class Target:
    """One registry: how to reach its leader, and what its servers have used."""

    def __init__(self, run, store, cluster, addr_of):
        self.run, self.store, self.cluster, self.addr_of = run, store, cluster, addr_of
        self.results = {}

    def load(self, *args):
        addr = self.addr_of(self.cluster.leader())
        argv = [self.run.program("weft-regload"), "--store", self.store, "--server", addr,
                "--keys", self.run.args.keys, *args]
        r = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
        assert r.returncode == 0, f"{self.store}: {r.stdout}{r.stderr}"
        return json.loads(r.stdout.splitlines()[-1])

    def fill(self):
        self.load("fill", "--clients", 64)

    def measure(self, clients, keep):
        pids = [n.pid for n in self.cluster.nodes]
        before = sample.cpu_ns(*pids)
        r = self.load("writes", "--clients", clients, "--seconds", self.run.args.seconds)
        assert r["writes"] and not r["failed"], f"{self.store}: {r}"
        r["cpu_us"] = (sample.cpu_ns(*pids) - before) / 1000 / r["writes"]
        if keep:
            self.results.setdefault(clients, []).append(r)
        self.run.say(f"{self.store:4} {clients:3} clients: {r['per_second']:7.0f} writes/s, "
                     f"p50 {r['p50_ms']:.2f} p99 {r['p99_ms']:.2f} ms, {r['cpu_us']:.0f} us CPU")

    def values(self, clients, field):
        return [r[field] for r in self.results[clients]]


def table_of(weft, etcd, clients):
    def row(name, unit, field):
        ours, theirs = weft.values(clients, field), etcd.values(clients, field)
        who = "1 client" if clients == 1 else f"{clients} clients"
        return median_row(f"{who} {name}", unit, ours, "etcd", theirs)
    return [
        row("writes", "1/s", "per_second"),
        row("latency p50", "ms", "p50_ms"),
        row("latency p99", "ms", "p99_ms"),
        row("cpu of the three servers", "us/write", "cpu_us"),
    ]


def run(run):
    with Workspace("bench-writes") as ws:
        weft = Target(run, "weft", Cluster(run.bin_dir, n=3, ws=ws).start(), lambda n: n.api_addr)
        etcd = Target(run, "etcd", Etcd(ws).start(), lambda n: n.client)
        both = [weft, etcd]
        for t in both:
            t.fill()
        for t in both:
            t.measure(run.args.clients[-1], keep=False)
        for i in range(run.args.rounds):
            for clients in run.args.clients:
                for t in both if i % 2 == 0 else both[::-1]:
                    t.measure(clients, keep=True)
        rows = []
        for clients in run.args.clients:
            rows += table_of(weft, etcd, clients)
        return rows
