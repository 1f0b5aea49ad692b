"""The demo's mesh: three control-plane nodes, bookinfo's services, a proxy beside each instance, a gateway.

The registry's objects are in deploy/demo; the addresses here are theirs.
"""

import os
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib.cluster import App, Cluster, Load, Proxy, wait_for  # noqa: E402

OBJECTS = os.path.join(ROOT, "deploy", "demo")

# name of the instance: service, version, workload address, the application's port on 127.0.0.1, calls
INSTANCES = {
    "productpage-v1": ("productpage", "v1", "127.1.0.10", 18110,
                       ["details:9080/details", "reviews:9080/reviews"]),
    "details-v1": ("details", "v1", "127.1.0.20", 18120, []),
    "reviews-v1": ("reviews", "v1", "127.1.0.31", 18131, []),
    "reviews-v2": ("reviews", "v2", "127.1.0.32", 18132, ["ratings:9080/ratings"]),
    "reviews-v3": ("reviews", "v3", "127.1.0.33", 18133, ["ratings:9080/ratings"]),
    "ratings-v1-a": ("ratings", "v1", "127.1.0.41", 18141, []),
    "ratings-v1-b": ("ratings", "v1", "127.1.0.42", 18142, []),
}
GATEWAY = "127.1.0.1"
GATEWAY_URL = f"http://{GATEWAY}:8080/productpage"


class Answer:
    """What a run of the CLI printed."""

    def __init__(self, done, ms):
        self.code, self.out, self.err, self.ms = done.returncode, done.stdout, done.stderr, ms

    @property
    def text(self):
        return (self.out + self.err).strip()


class Mesh:
    def __init__(self, bin_dir, ws):
        self.ws, self.bin_dir = ws, bin_dir
        self.cluster = Cluster(bin_dir, base_addr="127.0.0", n=3, ws=ws)
        self.apps, self.proxies = {}, {}

    def start_control_plane(self):
        start = time.monotonic()
        self.cluster.start()
        return time.monotonic() - start

    def start_apps(self):
        for name, (service, version, ip, port, calls) in INSTANCES.items():
            self.apps[name] = App(self.cluster, service, version, f"127.0.0.1:{port}",
                                  proxy=f"{ip}:15001" if calls else None, calls=calls,
                                  tag="-" + name)
        for app in self.apps.values():
            app.wait_ready()

    def start_proxies(self):
        first = 0
        for name, (service, version, ip, _, _) in INSTANCES.items():
            labels = {"app": service, "version": version, "instance": name}
            self.proxies[name] = Proxy(self.cluster, name, ip, labels, first=first % 3 + 1)
            first += 1
        self.proxies["ingress"] = Proxy(self.cluster, "ingress", GATEWAY,
                                        {"istio": "ingressgateway"}, kind="router")

    def weft(self, *args, timeout=30):
        """One run of the CLI, against all nodes."""
        env = dict(os.environ, NO_COLOR="1",
                   WEFT_ADDR=",".join(n.api_addr for n in self.cluster.nodes))
        start = time.monotonic()
        done = subprocess.run([os.path.join(self.bin_dir, "weft"), *args], env=env, text=True,
                              capture_output=True, timeout=timeout, check=False)
        return Answer(done, (time.monotonic() - start) * 1000)

    def apply(self, *names, wait=True):
        args = ["apply"]
        for name in names:
            args += ["-f", os.path.join(OBJECTS, name)]
        return self.weft(*args, *(["--wait=20s"] if wait else []))

    def resource_bytes(self, besides=()):
        """Bytes of resources that each proxy was sent since it started."""
        return {n: p.xds()["resource_bytes"] for n, p in self.proxies.items() if n not in besides}

    def wait_streaming(self, timeout=15):
        for name, proxy in self.proxies.items():
            wait_for(lambda p=proxy: p.xds()["state"] == "streaming", timeout,
                     f"{name} has a control plane")

    def load(self, **kw):
        """Through the gateway to the product page."""
        args = dict(to=f"{GATEWAY}:8080", host="bookinfo", path="/productpage", rate=500,
                    tally="x-version")
        args.update(kw)
        return Load(self.cluster, **args)

    def shares(self, requests, service="reviews", headers=(), rate=1000):
        """Shares of the versions of a service that answer requests of the product page's proxy, and the
        number of requests that failed."""
        load = Load(self.cluster, to=f"{INSTANCES['productpage-v1'][2]}:15001", host=f"{service}:9080",
                    path=f"/{service}", rate=rate, seconds=max(1, requests // rate), headers=headers,
                    tally="x-version")
        last = load.finish()
        total = sum(last["tally"].values()) or 1
        return {k: 100 * v / total for k, v in last["tally"].items()}, last
