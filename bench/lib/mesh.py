"""A large mesh and a crowd of light proxies on its xDS."""

import http.client
import json
import time

from tests.lib import web
from tests.lib.process import wait_for

from . import sample
from .talk import Talker

BATCH = 500  # objects a request


def service(i):
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": f"svc-{i}", "namespace": "default"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}


def endpoints(i, turn=0):
    """Two endpoints; `turn` changes the second one's address."""
    second = f"10.{100 + turn % 100}.{i >> 8}.{i & 255}"
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": f"svc-{i}-1", "namespace": "default",
                         "labels": {"kubernetes.io/service-name": f"svc-{i}"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [f"10.0.{i >> 8}.{i & 255}"]}, {"addresses": [second]}]}


def weights(turn):
    """A split of svc-0 between itself and svc-1; `turn` changes the weight."""
    first = 1 + turn % 99

    def to(i, weight):
        host = f"svc-{i}.default.svc.cluster.local"
        return {"destination": {"host": host}, "weight": weight}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "split", "namespace": "default"},
            "spec": {"hosts": ["svc-0"], "http": [{"route": [to(0, first), to(1, 100 - first)]}]}}


def load(cluster, services):
    """Services with two endpoints each and one VirtualService; returns the revision."""
    objects = [weights(0)]
    for i in range(services):
        objects += [service(i), endpoints(i)]
    for at in range(0, len(objects), BATCH):
        revision = cluster.batch(objects[at:at + BATCH], timeout=60)
    return revision


class Writer:
    """Writes on one kept connection and says when (CLOCK_MONOTONIC, ns)."""

    def __init__(self, addr):
        host, port = web.split_addr(addr)
        self.conn = http.client.HTTPConnection(host, port, timeout=60)

    def call(self, method, path, body=None):
        self.conn.request(method, path, body=json.dumps(body) if body else None,
                          headers={"Content-Type": "application/json"} if body else {})
        r = self.conn.getresponse()
        data = r.read()
        assert r.status == 200, f"{method} {path}: {r.status} {data[:300]!r}"
        return json.loads(data)

    def apply(self, obj):
        """(ns before, ns at the acknowledgement, revision)"""
        body = {"items": [{"verb": "apply", "object": obj}]}
        before = time.monotonic_ns()
        answer = self.call("POST", "/weft/v1/batch", body)
        return before, time.monotonic_ns(), answer["revision"]

    def wait(self, revision):
        """Until every proxy has acknowledged it; ns then."""
        answer = self.call("GET", f"/weft/v1/wait?revision={revision}&timeout=60s")
        assert answer["live"] == answer["total"] and not answer["rejected"], answer
        return time.monotonic_ns()


class Crowd:
    """weft-adsload: n proxies over all nodes, delta ADS. Construction connects and waits."""

    def __init__(self, run, ws, cluster, n, agent="weft-proxy", timeout_s=600):
        self.n, self.cluster = n, cluster
        self.timeout_s = timeout_s
        argv = [run.program("weft-adsload"), "--proxies", n, "--scenario", "watch", "--agent",
                agent, "--timeout", timeout_s * 1000]
        for node in cluster.nodes:
            argv += ["--server", node.xds_addr]
        self.cpu_before = sample.cpu_ns(*pids(cluster))
        self.program = Talker(ws, f"crowd-{n}", argv)
        self.connected = self.race()

    def race(self):
        """All in sync after a (re)connect."""
        e = self.program.event("synced", self.timeout_s)
        assert e["done"] == self.n, e
        e["server_cpu_s"] = (sample.cpu_ns(*pids(self.cluster)) - self.cpu_before) / 1e9
        return e

    def reconnect(self):
        self.cpu_before = sample.cpu_ns(*pids(self.cluster))
        self.program.command("reconnect")
        return self.race()

    def change(self, writer, obj, timeout_ms=60000):
        """Writes obj; how long until the last proxy has something new, from before the write."""
        self.program.command(f"mark change {timeout_ms}")
        self.program.event("marking")
        before, acked, revision = writer.apply(obj)
        e = self.program.event("mark", timeout_ms / 1000 + 10)
        assert e["done"] == self.n, e
        return {"ms": (e["last_ns"] - before) / 1e6, "bytes": e["bytes"] / self.n,
                "resource_bytes": e["resource_bytes"] / self.n, "acked_ns": acked,
                "before_ns": before, "last_ns": e["last_ns"], "revision": revision}

    def quit(self):
        self.program.quit()


def pids(cluster):
    return [n.pid for n in cluster.nodes]


def settled_kb(cluster, field="Pss"):
    """Memory of all nodes when it has stopped changing."""
    return sample.settled_kb(field, *pids(cluster))
