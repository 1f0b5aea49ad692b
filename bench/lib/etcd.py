"""etcd, three nodes with its own defaults, as weft's cluster is started: Debian's, or the current
one that tests/peers/build makes of its Go module."""

import base64
import os
import re
import subprocess

from tests.lib import web
from tests.lib.cluster import lease_subnet
from tests.lib.process import wait_for

PACKAGE = "etcd-server"
DEBIAN = "etcd"
CURRENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "peers",
                       "bin", "etcd")


def _b64(text):
    return base64.b64encode(text.encode()).decode()


class EtcdNode:
    def __init__(self, cluster, i):
        self.cluster, self.i, self.ip = cluster, i, f"{cluster.base}.{i}"
        self.name = f"{cluster.label}-{i}"
        self.client, self.peer = f"{self.ip}:2379", f"{self.ip}:2380"
        self.process = None

    def start(self):
        c = self.cluster
        argv = [*c.enter(self.i), c.program, "--name", self.name, "--data-dir",
                c.ws.path("etcd", self.name),
                "--listen-client-urls", f"http://{self.client}",
                "--advertise-client-urls", f"http://{self.client}",
                "--listen-peer-urls", f"http://{self.peer}",
                "--initial-advertise-peer-urls", f"http://{self.peer}",
                "--initial-cluster", ",".join(f"{n.name}=http://{n.peer}" for n in c.nodes),
                "--logger", "zap", "--log-level", "error"]
        os.makedirs(c.ws.path("etcd"), exist_ok=True)
        if self.process is None:
            self.process = c.ws.spawn(self.name, argv)
        else:
            self.process.start()

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.alive()

    def post(self, path, body, timeout=5):
        r = web.request(self.client, "POST", "/v3" + path, body, timeout=timeout)
        if r.status != 200:
            raise OSError(f"{path}: {r}")
        return r.json()


def version_of(program):
    """"3.7" of a program of etcd, or None where it is not."""
    try:
        out = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    found = re.search(r"etcd Version: (\d+\.\d+)", out)
    return found.group(1) if found else None


class Etcd:
    """A cluster; the same shape as tests.lib.Cluster where the benchmarks need it. Node i has the
    address BASE.i; first: the number of the first."""

    def __init__(self, ws, n=3, program=DEBIAN, label="etcd", base=None, first=1,
                 enter=lambda i: []):
        self.ws, self.program, self.label, self.enter = ws, program, label, enter
        if base:
            self.base = base
        else:
            self.base, lease = lease_subnet()
            ws.on_close(lease.close)
        self.nodes = [EtcdNode(self, first + i) for i in range(n)]

    def start(self):
        for node in self.nodes:
            node.start()
        self.wait_ready()
        return self

    def alive(self):
        return [n for n in self.nodes if n.alive()]

    def pids(self):
        return [n.pid for n in self.alive()]

    def leader(self, timeout=20):
        def look():
            for node in self.alive():
                st = node.post("/maintenance/status", {})
                if st.get("leader") and st["leader"] == st["header"]["member_id"]:
                    return node
            return None
        return wait_for(look, timeout, "etcd has a leader")

    def wait_ready(self, timeout=30):
        """Every living node answers a linearizable read."""
        for node in self.alive():
            wait_for(lambda n=node: n.post("/kv/range", {"key": _b64("ready")}), timeout,
                     f"{node.name} answers")

    def names(self, prefix):
        """All keys below a prefix, without it, in pages."""
        out, start, end = set(), prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
        while True:
            answer = self.alive()[0].post("/kv/range", {
                "key": _b64(start), "range_end": _b64(end), "limit": "2000", "keys_only": True}, 30)
            keys = [base64.b64decode(kv["key"]).decode() for kv in answer.get("kvs", [])]
            out.update(k[len(prefix):] for k in keys)
            if not answer.get("more"):
                return out
            start = keys[-1] + "\0"
