"""Kills the leader, again and again, under writes and under load, and counts what anybody noticed.

    leader_kill --times 50      a table of figures; status 0 only if nobody noticed anything

Held after each kill: no request through any proxy failed, no acknowledged write is lost, no proxy was sent
a resource that it already had. Measured: from the kill to the first write that is acknowledged after it."""

import argparse
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import web  # noqa: E402
from lib.bookinfo import (Bookinfo, PORT, client_proxy, destination_rule, virtual_service,  # noqa: E402
                          weighted)
from lib.cluster import Cluster, Load, Workspace, wait_for  # noqa: E402
from lib.peers import Envoy  # noqa: E402

NAMESPACE = "chaos"
PATH = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/workloadentries"


class Writer:
    """Creates one object after the other, at whatever node answers. `acked` holds what was promised."""

    def __init__(self, cluster, pause=0.005):
        self.cluster, self.pause = cluster, pause
        self.acked, self.latencies, self.refused = {}, [], []
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.turn = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        n = 0
        while not self.ending.is_set():
            n += 1
            begun = time.monotonic()
            if self._write(f"w{n}"):
                with self.lock:
                    self.acked[f"w{n}"] = (begun, time.monotonic())
            self.ending.wait(self.pause)

    def _write(self, name):
        """True once acknowledged. A create that meets itself came from a try whose answer was lost."""
        body = {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"address": "192.0.2.1", "labels": {"app": "nobody"}}}
        tries = 0
        while not self.ending.is_set():
            node = self.cluster.nodes[self.turn % len(self.cluster.nodes)]
            tries += 1
            try:
                r = web.request(node.api_addr, "POST", PATH, body, timeout=5)
            except web.NO_ANSWER:
                self.turn += 1
                self.ending.wait(0.002)
                continue
            if r.status == 201 or (r.status == 409 and tries > 1):
                return True
            if r.status < 500:
                self.refused.append((name, r.status, r.text()))
                return False
            self.turn += 1
            self.ending.wait(0.002)
        return False

    def first_acked_after(self, t):
        """When the first write begun after t was acknowledged, or None so far."""
        with self.lock:
            done = [end for begun, end in self.acked.values() if begun >= t]
        return min(done) if done else None

    def first_answer_after(self, t):
        with self.lock:
            done = [end for _, end in self.acked.values() if end >= t]
        return min(done) if done else None

    def finish(self):
        self.ending.set()
        self.thread.join(20)


class Scene:
    """Three nodes, four proxies (one of them an Envoy where there is one), 500 requests a second."""

    def __init__(self, ws, bin_dir=None, rate=500, envoy=True):
        self.ws = ws
        self.cluster = c = Cluster(bin_dir, n=3, ws=ws).start()
        only = ["reviews-v1", "reviews-v2"]
        book = Bookinfo(c, only=only).start()
        book.register()
        c.batch([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
        c.batch([destination_rule("reviews", ["v1", "v2"]),
                 virtual_service("reviews", weighted("reviews", [("v1", 90), ("v2", 10)]))])
        self.proxies = [client_proxy(c, 50 + i, f"client-{i}", first=i + 1) for i in range(3)]
        self.envoys = []
        if envoy:
            try:
                self.envoys.append(Envoy(c, "envoy", c.host(60)))
            except unittest.SkipTest as e:
                print(f"  without Envoy: {e}")
        everyone = self.proxies + self.envoys
        for p in everyone:
            p.wait_ready()
        c.wait_proxies(len(everyone))
        self.loads = [Load(c, to=f"{p.address}:15001", host=f"reviews:{PORT}", path="/reviews",
                           rate=rate / len(everyone), connections=16) for p in everyone]
        self.writer = Writer(c)
        wait_for(lambda: len(self.writer.acked) > 20, 20, "writes are acknowledged")
        self.times_ms, self.resent = [], []

    def received(self):
        """Bytes of resources that each weft-proxy says it got."""
        return {p.name: p.xds()["resource_bytes"] for p in self.proxies}

    def sent(self):
        """Bytes of resources that each living node says it sent to any proxy; Envoy does not count
        them, and its first response on a stream is an empty one."""
        return {n.name: n.metrics()["pilot_xds_config_size_bytes_sum"]
                for n in self.cluster.alive()}

    def connected(self):
        return (all(p.xds()["state"] == "streaming" for p in self.proxies) and
                all(e.connected() for e in self.envoys))

    def kill_leader(self):
        """One kill; returns the milliseconds until the first acknowledged write."""
        lead = self.cluster.leader()
        received, sent = self.received(), dict(self.sent(), **{lead.name: 0})
        killed = time.monotonic()
        lead.kill()
        end = wait_for(lambda: self.writer.first_acked_after(killed), 15,
                       "a write is acknowledged after the kill", every=0.001)
        wait_for(self.connected, 15, "every proxy has a control plane again")
        for load in self.loads:
            load.wait_sent(20)
        lead.start()
        wait_for(lambda: lead.status()["quorum"], 20, f"{lead.name} is back")
        self.cluster.wait_caught_up()
        self.cluster.wait_proxies(len(self.proxies) + len(self.envoys))
        self._compare(received, self.received())
        self._compare(sent, self.sent())
        self.times_ms.append((end - killed) * 1000)
        return self.times_ms[-1]

    def _compare(self, before, after):
        grown = {k: (before[k], after[k]) for k in after if after[k] != before[k]}
        if grown:
            self.resent.append(grown)

    def finish(self):
        """Ends load and writes; returns the counts."""
        totals = [load.finish() for load in self.loads]
        self.writer.finish()
        self.cluster.wait_same()
        lost = set()
        for node in self.cluster.nodes:
            have = {o["metadata"]["name"] for o in node.list(PATH)}
            lost |= {f"{name} on {node.name}" for name in set(self.writer.acked) - have}
        return {
            "requests": sum(t["sent"] for t in totals),
            "failed": sum(t["failed"] + t["lost"] for t in totals),
            "failures": [t["last_failure"] for t in totals if t["last_failure"]],
            "writes": len(self.writer.acked), "lost": sorted(lost),
            "refused": self.writer.refused[:5], "resent": self.resent,
            "p50_ms": quantile(self.times_ms, 0.5), "p99_ms": quantile(self.times_ms, 0.99),
            "max_ms": max(self.times_ms)}


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def table(counts, times):
    return "\n".join((
        f"leader killed            {times} times",
        f"requests                 {counts['requests']}, failed {counts['failed']}",
        f"acknowledged writes      {counts['writes']}, lost {len(counts['lost'])}",
        f"proxies sent anew        {len(counts['resent'])} times",
        f"kill to first ack        p50 {counts['p50_ms']:.0f} ms, p99 {counts['p99_ms']:.0f} ms, "
        f"max {counts['max_ms']:.0f} ms"))


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--times", type=int, default=50)
    args.add_argument("--rate", type=float, default=500, help="requests a second, all proxies together")
    args.add_argument("--bin", help="directory of the binaries; default build/release/bin")
    options = args.parse_args()
    with Workspace("leader-kill") as ws:
        scene = Scene(ws, options.bin, options.rate)
        for i in range(options.times):
            ms = scene.kill_leader()
            print(f"  {i + 1}: {ms:.0f} ms", flush=True)
        counts = scene.finish()
    print(table(counts, options.times))
    bad = {k: counts[k] for k in ("failed", "failures", "lost", "refused", "resent") if counts[k]}
    for name, seen in bad.items():
        print(f"{name}: {seen if isinstance(seen, int) else seen[:20]}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
