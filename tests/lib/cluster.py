"""Control plane, proxies, applications and load as real processes.

    with Workspace("demo") as ws:
        c = Cluster("build/release/bin", n=3, ws=ws).start()
        c.batch(objects)                      # one write
        p = Proxy(c, name="reviews-v1", address=c.host(31))
        load = Load(c, to=f"{p.address}:15001", host="reviews:9080", rate=500)
        c.leader().kill()

Every cluster has a subnet 127.20.N of its own, leased by holding a port on it, so that tests may
run beside each other. Nodes are .1 to .n; workloads take whatever else they like.
"""

import json
import os
import socket
import subprocess
import urllib.parse

from . import web
from .process import Process, Timeout, Workspace, wait_for

__all__ = ["Cluster", "Node", "Proxy", "App", "Load", "Workspace", "Process", "Timeout", "wait_for"]

API_PORT, XDS_PORT, METRICS_PORT, PEER_PORT = 7443, 15012, 15014, 7444
LEASE_PORT = 7399


def lease_subnet():
    """Returns (prefix, socket): nobody else gets this prefix while the socket is open."""
    first = os.getpid() % 200
    for i in range(200):
        prefix = f"127.20.{10 + (first + i) % 200}"
        s = socket.socket()
        try:
            s.bind((prefix + ".254", LEASE_PORT))
            return prefix, s
        except OSError:
            s.close()
    raise RuntimeError("every subnet of 127.20 is in use")


def default_bin_dir():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("WEFT_BIN") or os.path.join(here, "..", "..", "build", "release", "bin")


class Node:
    """One weftd."""

    def __init__(self, cluster, i):
        self.cluster, self.i = cluster, i
        self.name = f"n{i}"
        self.ip = f"{cluster.base}.{i}"
        self.api_addr = f"{self.ip}:{API_PORT}"
        self.xds_addr = f"{self.ip}:{XDS_PORT}"
        self.metrics_addr = f"{self.ip}:{METRICS_PORT}"
        self.peer_addr = f"{self.ip}:{PEER_PORT}"
        self.data = cluster.ws.path("data", self.name)
        self.certs = cluster.ws.path("pki", self.name) if cluster.tls else None
        self.signs = cluster.signs
        self.joins = None  # flags of a node that came later
        self.extra = []    # flags of this node alone
        self.process = None

    def argv(self):
        c = self.cluster
        how = (["--peer", self.peer_addr, *self.joins] if self.joins is not None else
               ["--init", "--peer", self.peer_addr] if c.n == 1 else
               ["--cluster", ",".join(f"{n.name}={n.peer_addr}" for n in c.founders)])
        return [*c.enter(self.i), os.path.join(c.bin_dir, "weftd"), "--name", self.name, *how, "--data", self.data,
                "--api", self.api_addr, "--xds", self.xds_addr, "--metrics", self.metrics_addr,
                *(["--peer-cert-dir", self.certs] if self.certs else []),
                *(["--ca-dir", c.ws.path("pki")] if self.signs else []), *c.flags, *self.extra]

    def start(self):
        os.makedirs(self.data, exist_ok=True)
        if self.process is None:
            self.process = self.cluster.ws.spawn("weftd-" + self.name, self.argv())
        else:
            self.process.argv = self.argv()
            self.process.start()
        return self

    def kill(self):
        self.process.kill()

    def stop(self):
        self.process.stop()

    def restart(self):
        self.kill()
        return self.start()

    def alive(self):
        return self.process is not None and self.process.alive()

    @property
    def pid(self):
        return self.process.pid

    def api(self, method, path, body=None, **kw):
        return web.request(self.api_addr, method, path, body, **kw)

    def status(self, timeout=2):
        return self.api("GET", "/weft/v1/status", timeout=timeout).json()

    def list(self, path, timeout=30):
        """All objects of a kind, page by page."""
        items, token = [], ""
        while True:
            page = self.api("GET", f"{path}?limit=1000&continue={token}" if token else
                            f"{path}?limit=1000", timeout=timeout).json()
            items += page["items"]
            token = urllib.parse.quote(page["metadata"].get("continue", ""))
            if not token:
                return items

    def metrics(self):
        """Sum of each metric's series by name."""
        return parse_metrics(web.get(self.metrics_addr, "/metrics", timeout=5).text())


class Cluster:
    """n nodes of weftd. flags: more of weftd's, for every node. tls: peers have certificates;
    signs: and the CA's key, for those that join with a token.
    enter: of a node's number, what stands before its command line (bench/lib/wire.py)."""

    def __init__(self, bin_dir=None, base_addr=None, n=3, ws=None, flags=(), tls=False,
                 signs=False, enter=lambda i: []):
        self.enter = enter
        self.bin_dir = os.path.abspath(bin_dir or default_bin_dir())
        self.n, self.flags, self.tls, self.signs = n, list(flags), tls, signs
        self.ws = ws or Workspace("cluster")
        if base_addr is None:
            self.base, lease = lease_subnet()
            self.ws.on_close(lease.close)
        else:
            self.base = base_addr
        self.founders = [Node(self, i + 1) for i in range(n)]
        self.nodes = list(self.founders)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        return self.ws.__exit__(kind, value, trace)

    def sanitized(self):
        """Binaries of the asan preset: slower, and their memory says nothing."""
        with open(os.path.join(self.bin_dir, "weftd"), "rb") as f:
            return b"libasan.so" in f.read(1 << 20)

    def host(self, last):
        return f"{self.base}.{last}"

    def make_certs(self, dir_name="pki"):
        """weftd init, as users call it."""
        subprocess.run([os.path.join(self.bin_dir, "weftd"), "init", "--dir", self.ws.path(dir_name),
                        *(a for node in self.nodes for a in ("--name", node.name))],
                       check=True, stdout=subprocess.DEVNULL)

    def start(self, timeout=30):
        if self.tls:
            self.make_certs()
        for node in self.nodes:
            node.start()
        self.wait_ready(timeout)
        return self

    def close(self, failed=False):
        self.ws.close(failed)

    def newcomer(self, i, *flags, token=None):
        """A node that joins when it is started, through any that lives; with a token at their
        peer addresses, and without certificates of its own."""
        node = Node(self, i)
        contacts = ",".join(n.peer_addr if token else "http://" + n.api_addr for n in self.alive())
        node.joins = ["--join", contacts, *(["--token", token] if token else []), *flags]
        if token:
            node.certs = None
        self.nodes.append(node)
        return node

    def token(self, *flags):
        """A join token, as operators make it."""
        made = self.weft("operator", "token", "create", *flags)
        assert made.returncode == 0, made
        return made.stdout.strip()

    def forget(self, node):
        """It is no member any more."""
        node.kill()
        self.nodes.remove(node)

    def members(self):
        """By name, as the leader sees them."""
        items = self.leader().api("GET", "/weft/v1/members", timeout=2).json()["items"]
        return {m["name"]: m for m in items}

    def wait_role(self, node, role, timeout=30):
        wait_for(lambda: self.members()[node.name]["role"] == role, timeout,
                 f"{node.name} is a {role}")

    def weft(self, *args, timeout=60):
        """The command line, as operators use it, at any node that lives."""
        return subprocess.run([os.path.join(self.bin_dir, "weft"), *args, "--server",
                               ",".join(n.api_addr for n in self.alive())],
                              capture_output=True, text=True, timeout=timeout, check=False)

    def node(self, i):
        """i counts from 1, as the names do."""
        return self.nodes[i - 1]

    def alive(self):
        return [n for n in self.nodes if n.alive()]

    def xds_servers(self, first=1):
        """All xDS addresses, beginning with node `first`: proxies that begin at different nodes
        spread over the cluster."""
        order = self.nodes[first - 1:] + self.nodes[:first - 1]
        return ",".join(n.xds_addr for n in order)

    # -- the cluster's state --

    def leader(self, timeout=10):
        """The node that says it leads, with a quorum."""
        def look():
            for node in self.alive():
                st = node.status()
                if st["node"]["role"] == "leader" and st["quorum"]:
                    return node
            return None
        return wait_for(look, timeout, "a leader")

    def follower(self):
        lead = self.leader()
        return next(n for n in self.alive() if n is not lead)

    def wait_ready(self, timeout=30):
        """A leader, and the namespaces that every mesh has, on every living node."""
        self.leader(timeout)
        for node in self.alive():
            wait_for(lambda n=node: n.api("GET", "/api/v1/namespaces/default").status == 200,
                     timeout, f"{node.name} has the default namespace")

    def status(self, timeout=10):
        return wait_for(lambda: self.alive()[0].status(), timeout, "a status")

    def revision(self):
        return max(n.status()["revision"] for n in self.alive())

    def wait_same(self, timeout=20):
        """Until all living nodes are at one revision with one state hash; returns the revision."""
        def look():
            seen = {(s["revision"], s["stateHash"]) for s in (n.status() for n in self.alive())}
            return seen.pop()[0] if len(seen) == 1 else None
        return wait_for(look, timeout, "nodes agree")

    def wait_caught_up(self, timeout=20):
        """Until every living node has what any of them has now."""
        revision = self.revision()
        for node in self.alive():
            wait_for(lambda n=node: n.status()["revision"] >= revision, timeout,
                     f"{node.name} is at @{revision}")

    # -- the API --

    def api(self, method, path, body=None, node=None, **kw):
        """One request to one node (default: the first that lives); no retry."""
        return (node or self.alive()[0]).api(method, path, body, **kw)

    def batch(self, objects, verb="apply", timeout=15, manager="tests"):
        """Writes objects in one entry, at any node that takes it; returns the revision. Apply is
        idempotent, so an unknown outcome is tried again."""
        body = {"items": [{"verb": verb, "object": o} for o in objects]}
        path = f"/weft/v1/batch?fieldManager={manager}"

        def attempt():
            for node in self.alive():
                try:
                    r = node.api("POST", path, body, timeout=5)
                except web.NO_ANSWER:
                    continue
                if r.status == 200:
                    return r.json()["revision"] or -1
                assert r.status >= 429 or r.status == 409, f"batch refused: {r}"
            return None
        return wait_for(attempt, timeout, "a batch is acknowledged")

    def wait(self, revision=None, timeout=10):
        """Until every proxy runs the revision (default: the newest). Returns the answer; asserts
        that nobody refused."""
        revision = revision or self.revision()
        r = self.api("GET", f"/weft/v1/wait?revision={revision}&timeout={int(timeout * 1000)}ms",
                     timeout=timeout + 5)
        answer = r.json()
        assert r.status == 200 and answer["live"] == answer["total"] and not answer["rejected"], r
        return answer

    def proxies(self):
        return self.api("GET", "/weft/v1/proxies").json()["items"]

    def wait_proxies(self, count, timeout=10):
        """Until count proxies are connected, as every living node sees it."""
        def look():
            return all(n.status()["proxies"].get("total") == count for n in self.alive())
        wait_for(look, timeout, f"{count} proxies are connected")


def parse_metrics(text):
    out = {}
    for line in text.splitlines():
        if line and line[0] != "#":
            series, _, value = line.rpartition(" ")
            name = series.split("{", 1)[0]
            out[name] = out.get(name, 0.0) + float(value)
    return out


class Proxy:
    """A weft-proxy. address is the workload's; the admin interface is on it too, port 15000."""

    def __init__(self, cluster, name, address, labels=None, kind="sidecar", first=1, servers=None,
                 interception=None, workers=1, state=True, namespace="default", flags=(),
                 start=True):
        self.cluster, self.name, self.address = cluster, name, address
        self.admin = f"{address}:15000"
        self.state_dir = cluster.ws.path("state", name)
        argv = [os.path.join(cluster.bin_dir, "weft-proxy"), "--xds",
                servers or cluster.xds_servers(first), "--name", name, "--namespace", namespace,
                "--address", address, "--admin", self.admin, "--type", kind, "--workers", workers,
                "--drain-time", 1]
        for k, v in (labels or {}).items():
            argv += ["--label", f"{k}={v}"]
        if interception:
            argv += ["--interception", interception]
        if state:
            argv += ["--state-dir", self.state_dir]
            os.makedirs(self.state_dir, exist_ok=True)
        self.process = Process(cluster.ws, "proxy-" + name, argv + list(flags))
        cluster.ws.processes.append(self.process)
        if start:
            self.start()

    def start(self):
        self.process.start()
        return self

    def kill(self):
        self.process.kill()

    def stop(self):
        self.process.stop()

    def restart(self):
        self.process.restart()
        return self

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        return web.get(self.admin, "/ready", timeout=2).status == 200

    def wait_ready(self, timeout=10):
        wait_for(self.ready, timeout, f"{self.name} is ready", every=0.005)
        return self

    def info(self):
        return web.get(self.admin, "/server_info", timeout=5).json()

    def xds(self):
        """{"state", "server", "updates", "rejected", "resource_bytes", "connects", "restored"}"""
        return self.info()["xds"]

    def wait_connected(self, timeout=10, besides=None):
        """Until it has a control plane (another than `besides`, an address)."""
        def look():
            x = self.xds()
            return x["state"] == "connected" and x["server"] != besides
        wait_for(look, timeout, f"{self.name} is connected")
        return self

    def config_dump(self):
        return web.get(self.admin, "/config_dump?include_eds", timeout=10).json()

    def stats(self, filter=""):
        out = {}
        for line in web.get(self.admin, f"/stats?filter={filter}").text().splitlines():
            name, _, value = line.rpartition(": ")
            out[name] = float(value)
        return out


class App:
    """An instance of a service: weft-demo-app. calls: "HOST:PORT/PATH", through proxy."""

    def __init__(self, cluster, name, version, listen, proxy=None, calls=(), fail=False, tag=""):
        self.cluster, self.listen = cluster, listen
        argv = [os.path.join(cluster.bin_dir, "weft-demo-app"), "--name", name, "--version",
                version, "--listen", listen]
        if proxy:
            argv += ["--proxy", proxy]
        for call in calls:
            argv += ["--call", call]
        if fail:
            argv.append("--fail")
        self.process = cluster.ws.spawn(f"app-{name}-{version}{tag}", argv)

    def wait_ready(self, timeout=10):
        host, port = web.split_addr(self.listen)
        wait_for(lambda: socket.create_connection((host, port), 1).close() is None, timeout,
                 f"{self.process.name} listens")
        return self

    def kill(self):
        self.process.kill()

    def stop(self):
        self.process.stop()

    def restart(self):
        self.process.restart()
        return self


class Load:
    """weft-load: requests at a fixed rate, every failure counted. Without seconds it runs until
    finish(), which returns the totals."""

    count = 0

    def __init__(self, cluster, to, host="localhost", path="/", rate=500, seconds=0, headers=(),
                 connections=64, tally=None, timeout_ms=10000, flags=()):
        Load.count += 1
        argv = [os.path.join(cluster.bin_dir, "weft-load"), "--to", to, "--host", host, "--path",
                path, "--rate", rate, "--connections", connections, "--timeout-ms", timeout_ms,
                "--report-ms", 100]
        if seconds:
            argv += ["--seconds", seconds]
        for h in headers:
            argv += ["--header", h]
        if tally:
            argv += ["--tally", tally]
        self.out_path = cluster.ws.path(f"load-{Load.count}.out")
        with open(self.out_path, "wb") as out:
            self.process = Process(cluster.ws, f"load-{Load.count}", argv + list(flags), stdout=out)
            self.process.ends_alone = True
            cluster.ws.processes.append(self.process)
            self.process.start()

    def reports(self):
        with open(self.out_path, encoding="utf-8") as f:
            return [json.loads(line) for line in f.read().split("\n")[:-1]]

    def latest(self):
        reports = self.reports()
        return reports[-1] if reports else {"sent": 0, "ok": 0, "failed": 0}

    def wait_sent(self, count, timeout=20):
        """Until count more requests than now have been answered well."""
        start = self.latest()["ok"]
        wait_for(lambda: self.latest()["ok"] >= start + count, timeout, f"{count} requests pass")

    def finish(self, timeout=60):
        """Ends an endless run, waits, and returns the last report."""
        if "--seconds" not in self.process.argv and self.process.alive():
            self.process.popen.terminate()
        try:
            self.process.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout(f"{self.process.name} does not end") from None
        last = self.latest()
        assert last.get("final"), f"{self.process.name}: no last report: {last}"
        return last
