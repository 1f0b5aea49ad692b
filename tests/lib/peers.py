"""Foreign programs: kubectl, Envoy, gRPC's clients. Whoever asks for one that is not here skips."""

import glob
import json
import os
import subprocess
import unittest

from . import web
from .corpus import ROOT
from .process import wait_for

PEERS = os.path.join(ROOT, "tests", "peers")
BUILT = os.path.join(ROOT, "build", "peers")


def need(path, what):
    if path and os.path.exists(path):
        return path
    raise unittest.SkipTest(f"peer {what}: not here (tests/peers/build)")


def kubectl_path(version):
    """version: "current" or "1.20" (Debian's)."""
    if version == "1.20":
        return need(os.path.join(BUILT, "kubectl-1.20", "usr", "bin", "kubectl"), "kubectl 1.20")
    return need(os.path.join(PEERS, "bin", "kubectl"), "kubectl")


def envoy_path():
    found = glob.glob(os.path.join(BUILT, "venv", "lib", "python3*", "site-packages", "envoy",
                                   "_bin", "envoy"))
    return need(found[0] if found else None, "Envoy")


def python_path():
    return need(os.path.join(BUILT, "venv", "bin", "python3"), "Python with gRPC")


def xdsclient_path():
    return need(os.path.join(PEERS, "bin", "xdsclient"), "gRPC for Go")


class Ran:
    """What a command printed."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"<{self.code}: {self.out[-1500:]!r} {self.err[-1500:]!r}>"


class Kubectl:
    """kubectl against one node, with a home of its own."""

    def __init__(self, cluster, version="current", node=None):
        self.path = kubectl_path(version)
        self.version = version
        self.node = node or cluster.node(1)
        self.home = cluster.ws.path("home-" + version)
        os.makedirs(self.home, exist_ok=True)

    def argv(self, *args):
        return [self.path, "--server", f"http://{self.node.api_addr}", "--cache-dir",
                os.path.join(self.home, "cache"), *[str(a) for a in args]]

    def env(self, **more):
        return dict(os.environ, HOME=self.home, KUBECONFIG=os.path.join(self.home, "none"), **more)

    def run(self, *args, stdin=None, timeout=30, **env):
        return Ran(subprocess.run(self.argv(*args), input=stdin, capture_output=True, text=True,
                                  timeout=timeout, env=self.env(**env), check=False))

    def ok(self, *args, **kw):
        """A run that must end with status 0; returns its output."""
        r = self.run(*args, **kw)
        assert r.code == 0, f"kubectl {' '.join(map(str, args))}: {r}"
        return r.out

    def popen(self, *args):
        return subprocess.Popen(self.argv(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, env=self.env())


def weft(cluster, *args, timeout=30, stdin=None):
    """One run of weft, against all nodes."""
    path = need(os.path.join(cluster.bin_dir, "weft"), "weft's command line")
    env = dict(os.environ, NO_COLOR="1", WEFT_ADDR=",".join(n.api_addr for n in cluster.nodes))
    return Ran(subprocess.run([path, *map(str, args)], env=env, text=True, input=stdin,
                              capture_output=True, timeout=timeout, check=False))


class Envoy:
    """A real Envoy as a proxy of the mesh. delta: which xDS protocol; interception: as Istio's metadata."""

    def __init__(self, cluster, name, address, delta=True, interception="NONE", kind="sidecar",
                 namespace="default", labels=None, first=1, flags=(), start=True):
        self.cluster, self.name, self.address = cluster, name, address
        self.admin = f"{address}:15000"
        path = cluster.ws.path(f"envoy-{name}.json")
        nodes = cluster.nodes[first - 1:] + cluster.nodes[:first - 1]
        config = self._bootstrap(nodes, delta, interception, kind, namespace, labels or {})
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f, indent=1)
        from .process import Process
        self.process = Process(cluster.ws, "envoy-" + name,
                               [envoy_path(), "-c", path, "--concurrency", 1, "--disable-hot-restart",
                                "-l", "warning", *flags])
        cluster.ws.processes.append(self.process)
        if start:
            self.process.start()

    def _bootstrap(self, nodes, delta, interception, kind, namespace, labels):
        def address(text):
            host, port = web.split_addr(text)
            return {"socket_address": {"address": host, "port_value": port}}

        lb = [{"endpoint": {"address": address(n.xds_addr)}} for n in nodes]
        h2 = {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "explicit_http_config": {"http2_protocol_options": {}}}
        ads = {"resource_api_version": "V3", "ads": {}}
        return {
            "node": {
                "id": f"{kind}~{self.address}~{self.name}.{namespace}~{namespace}.svc.cluster.local",
                "cluster": f"{self.name}.{namespace}",
                "metadata": {"NAMESPACE": namespace, "LABELS": labels, "CLUSTER_ID": "Kubernetes",
                             "INTERCEPTION_MODE": interception}},
            "admin": {"address": address(self.admin)},
            "dynamic_resources": {
                "ads_config": {"api_type": "DELTA_GRPC" if delta else "GRPC",
                               "transport_api_version": "V3",
                               "grpc_services": [{"envoy_grpc": {"cluster_name": "weft"}}]},
                "cds_config": ads, "lds_config": ads},
            "static_resources": {"clusters": [{
                "name": "weft", "type": "STATIC", "connect_timeout": "1s",
                "typed_extension_protocol_options":
                    {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": h2},
                "load_assignment": {"cluster_name": "weft",
                                    "endpoints": [{"lb_endpoints": lb}]}}]},
        }

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        return web.get(self.admin, "/ready", timeout=2).status == 200

    def wait_ready(self, timeout=30):
        wait_for(self.ready, timeout, f"Envoy {self.name} is ready")
        return self

    def stats(self, filter="."):
        """Counters and gauges whose names match the regular expression."""
        out = {}
        for line in web.get(self.admin, f"/stats?filter={filter}", timeout=10).text().splitlines():
            name, _, value = line.rpartition(": ")
            if value.isdigit():
                out[name] = int(value)
        return out

    def updates(self):
        """Responses of the control plane that changed something, and those it refused."""
        s = self.stats("(update_success|update_rejected)$")
        return (sum(v for k, v in s.items() if k.endswith("update_success")),
                sum(v for k, v in s.items() if k.endswith("update_rejected")))

    def connected(self):
        return self.stats("control_plane.connected_state").get("control_plane.connected_state") == 1

    def config_dump(self):
        return web.get(self.admin, "/config_dump?include_eds", timeout=10).json()

    def errors(self):
        """What it refused, from its own dump."""
        found = []
        for config in self.config_dump()["configs"]:
            for key, items in config.items():
                if isinstance(items, list):
                    found += [i["error_state"]["details"] for i in items
                              if isinstance(i, dict) and "error_state" in i]
        return found


def grpc_bootstrap(cluster, address, name="grpc", namespace="default", first=1):
    """GRPC_XDS_BOOTSTRAP_CONFIG of a proxyless client."""
    return json.dumps({
        "xds_servers": [{"server_uri": cluster.node(first).xds_addr,
                         "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
        "node": {"id": f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local",
                 "cluster": name,
                 "metadata": {"NAMESPACE": namespace, "GENERATOR": "grpc"}},
        "server_listener_resource_name_template": "grpc/server?%s"})


class GrpcPython:
    """A proxyless Python client that stays connected; see tests/peers/grpc_client.py."""

    def __init__(self, cluster, address, targets, name="grpc-python", first=1):
        self.targets = list(targets)
        argv = [python_path(), os.path.join(PEERS, "grpc_client.py"),
                *[f"xds:///{t}" for t in self.targets]]
        env = dict(os.environ,
                   GRPC_XDS_BOOTSTRAP_CONFIG=grpc_bootstrap(cluster, address, name, first=first))
        self.log = open(cluster.ws.path(name + ".log"), "wb")
        self.popen = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stderr=self.log,
                                      stdout=subprocess.PIPE, text=True)
        cluster.ws.on_close(self.close)

    def call(self, target, count=1, headers=(), timeout=10):
        """{"tally": {version: n}, "codes": {code: n}, "last": message}"""
        command = {"target": self.targets.index(target), "count": count, "timeout": timeout,
                   "headers": list(headers)}
        self.popen.stdin.write(json.dumps(command) + "\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def close(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()
        self.log.close()


def grpc_go(cluster, address, target, count, user="", name="grpc-go", first=1, timeout=60):
    """One run of the Go client: {"tally": …, "failed": n, "last": message}."""
    env = dict(os.environ,
               GRPC_XDS_BOOTSTRAP_CONFIG=grpc_bootstrap(cluster, address, name, first=first))
    argv = [xdsclient_path(), "--target", f"xds:///{target}", "--count", str(count)]
    if user:
        argv += ["--end-user", user]
    r = Ran(subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout,
                           check=False))
    assert r.code == 0, r
    return r.json()


def grpc_server(cluster, name, version, listen):
    """A gRPC application whose answers carry x-version."""
    return cluster.ws.spawn(f"grpc-{name}-{version}",
                            [xdsclient_path(), "--serve", listen, "--name", version])
