"""Clusters of weft and of etcd under one load generator, weft-regload."""

from bench.lib import sample
from bench.lib.etcd import Etcd
from bench.lib.rows import median_row
from tests.lib.cluster import Cluster

import json
import subprocess


def clients_of(text):
    return [int(n) for n in text.split(",")]


class Target:
    """One registry: how to reach its nodes, and what they and the generator have used."""

    def __init__(self, run, store, cluster, addr_of):
        self.run, self.store, self.cluster, self.addr_of = run, store, cluster, addr_of
        self.results = {}

    @property
    def pids(self):
        return [n.pid for n in self.cluster.nodes]

    def argv(self, mode, *args, nodes=()):
        out = [self.run.program("weft-regload"), "--store", self.store, *args, mode]
        for node in nodes or [self.cluster.leader()]:
            out += ["--server", self.addr_of(node)]
        return [str(a) for a in out]

    def load(self, mode, *args, nodes=()):
        """One run of the generator against the leader, or these nodes; its totals."""
        r = subprocess.run(self.argv(mode, *args, nodes=nodes), capture_output=True, text=True, check=False)
        assert r.returncode == 0, f"{self.store}: {r.stdout}{r.stderr}"
        return json.loads(r.stdout.splitlines()[-1])

    def fill(self, keys, *args):
        r = self.load("fill", "--keys", keys, "--clients", 64, *args)
        assert r["done"] == keys, f"{self.store}: {r}"

    def measure(self, mode, clients, keys, keep):
        before = sample.cpu_ns(*self.pids)
        r = self.load(mode, "--clients", clients, "--keys", keys, "--seconds",
                      self.run.args.seconds)
        assert r["done"] and not r["failed"], f"{self.store}: {r}"
        r["cpu_us"] = (sample.cpu_ns(*self.pids) - before) / 1000 / r["done"]
        r["load_us"] = r["cpu_s"] * 1e6 / r["done"]
        if keep:
            self.results.setdefault(clients, []).append(r)
        self.run.say(f"{self.store:4} {clients:3} clients: {r['per_second']:7.0f} {mode}/s, "
                     f"p50 {r['p50_ms']:.2f} p99 {r['p99_ms']:.2f} ms, {r['cpu_us']:.0f} us CPU, "
                     f"generator {r['load_us']:.0f} us")

    def values(self, clients, field):
        return [r[field] for r in self.results[clients]]


def start(run, ws):
    """Three nodes of each."""
    return [Target(run, "weft", Cluster(run.bin_dir, n=3, ws=ws).start(), lambda n: n.api_addr),
            Target(run, "etcd", Etcd(ws).start(), lambda n: n.client)]


def rounds(both, mode, n, clients, keys):
    """Each number of clients n times, weft and etcd in turns, the first place changing."""
    for t in both:
        t.measure(mode, clients[-1], keys, keep=False)
    for i in range(n):
        for c in clients:
            for t in both if i % 2 == 0 else both[::-1]:
                t.measure(mode, c, keys, keep=True)


def table(both, mode, clients, goal):
    """goal: of the ratio of operations a second. CPU of the generator stands apart: clients and
    servers share the cores, and where etcd's side costs it more, that slows etcd down."""
    weft, etcd = both
    out = []
    for c in clients:
        who = "1 client" if c == 1 else f"{c} clients"

        def row(name, unit, field, goal=None, c=c, who=who):
            return median_row(f"{who} {name}", unit, weft.values(c, field), "etcd",
                              etcd.values(c, field), goal)
        out += [row(mode, "1/s", "per_second", ("ratio", goal, "min")),
                row("latency p50", "ms", "p50_ms"),
                row("latency p99", "ms", "p99_ms", ("ratio", 1)),
                row("cpu of the three servers", "us each", "cpu_us"),
                row("cpu of the generator", "us each", "load_us")]
    return out
