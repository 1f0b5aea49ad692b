#!/usr/bin/env python3
"""If this fails, a canary gets more or less of the users than its owner wrote, or the wrong ones: shares,
header matches, faults and retries are measured on requests through weft-proxy and through Envoy, both
configured by the same control plane."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import corpus, web  # noqa: E402
from lib.bookinfo import (Bookinfo, PORT, client_proxy, destination_rule, virtual_service,  # noqa: E402
                          weighted)
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import App, Cluster, Load  # noqa: E402
from lib.peers import Envoy, Kubectl  # noqa: E402

REQUESTS = int(os.environ.get("WEFT_SPLIT_REQUESTS", "10000"))
VERSIONS = ["v1", "v2", "v3"]


class Splits(Case):
    """Subclasses say who carries the traffic."""

    @classmethod
    def proxy(cls):
        raise NotImplementedError

    @classmethod
    def begin(cls):
        cls.cluster = Cluster(n=1, ws=cls.ws).start()
        cls.bookinfo = Bookinfo(cls.cluster).start()
        cls.bookinfo.register()
        cls.cluster.batch([destination_rule(h, VERSIONS) for h in ("reviews", "details")] +
                          [destination_rule("ratings", ["v1", "v2"])])
        cls.p = cls.proxy()
        cls.p.wait_ready()
        cls.cluster.wait_proxies(1)

    def route(self, host, http):
        revision = self.cluster.batch([virtual_service(host, http)])
        self.cluster.wait(revision)

    def apply_corpus(self, name):
        Kubectl(self.cluster).ok("apply", "-f", corpus.bookinfo(name))
        self.cluster.wait()

    def send(self, count, host="reviews", headers=(), rate=2500):
        load = Load(self.cluster, to=f"{self.p.address}:15001", host=f"{host}:{PORT}",
                    path=f"/{host}", rate=rate, seconds=max(1, count // rate), tally="x-version",
                    headers=headers, connections=32)
        return load.finish()

    def one(self, host, **headers):
        return web.get(f"{self.p.address}:15001", f"/{host}", headers={
            "Host": f"{host}:{PORT}", **{k.replace("_", "-"): v for k, v in headers.items()}})

    def share(self, weights):
        self.route("reviews", weighted("reviews", weights))
        r = self.send(REQUESTS)
        total = sum(r["tally"].values())
        self.assertEqual((r["failed"], r["lost"]), (0, 0), r)
        self.assertGreaterEqual(total, REQUESTS * 0.99)
        for version, weight in weights:
            seen = 100 * r["tally"].get(f"reviews-{version}", 0) / total
            self.assertAlmostEqual(seen, weight, delta=2, msg=str(r["tally"]))
        note(f"{weights}: {r['tally']}, p99 {r['p99_us']} us")

    def shares(self):
        for weights in ([("v1", 90), ("v2", 10)], [("v1", 80), ("v2", 20)],
                        [("v1", 50), ("v3", 50)]):
            with self.subTest(weights):
                self.share(weights)

    def header(self):
        self.apply_corpus("virtual-service-reviews-jason-v2-v3.yaml")
        r = self.send(2500, headers=["end-user: jason"])
        self.assertEqual(set(r["tally"]), {"reviews-v2"}, r)
        r = self.send(2500)
        self.assertEqual(set(r["tally"]), {"reviews-v3"}, r)
        self.assertEqual(self.one("reviews", end_user="jason2").header("x-version"), "reviews-v3")

    def faults(self):
        """7 s of delay and a 500 for jason alone, as in Istio's guide."""
        self.apply_corpus("virtual-service-ratings-test-delay.yaml")
        start = time.monotonic()
        self.assertEqual(self.one("ratings", end_user="jason").status, 200)
        self.assertAlmostEqual(time.monotonic() - start, 7, delta=0.5)
        start = time.monotonic()
        self.assertEqual(self.one("ratings").status, 200)
        self.assertLess(time.monotonic() - start, 1)
        self.apply_corpus("virtual-service-ratings-test-abort.yaml")
        r = self.one("ratings", end_user="jason")
        self.assertEqual((r.status, r.text()), (500, "fault filter abort"))
        self.assertEqual(self.one("ratings").status, 200)

    def retries(self):
        """One of two instances of details answers 503 to everything: no user sees it."""
        # In turn: by least requests, an instance that fails fast draws every retry while the other is slow.
        self.cluster.batch([destination_rule("details", VERSIONS, traffic_policy={
            "loadBalancer": {"simple": "ROUND_ROBIN"}})])
        # v1 is at .120; its twin takes v2's place.
        app = self.bookinfo.apps["details-v2"]
        app.kill()
        bad = App(self.cluster, "details", "v2", f"{self.cluster.host(122)}:{PORT}", fail=True,
                  tag="-bad").wait_ready()
        plain = [{"route": [{"destination": {"host": "details"}}], "retries": {"attempts": 0}}]
        self.route("details", plain)
        r = self.send(500, "details", rate=500)
        self.assertGreater(r["status"]["5xx"], 100, r)
        plain[0]["retries"] = {"attempts": 3, "retryOn": "5xx,connect-failure,refused-stream"}
        self.route("details", plain)
        r = self.send(500, "details", rate=500)
        self.assertEqual(r["status"]["5xx"], 0, r)
        self.assertEqual(set(r["tally"]), {"details-v1"}, r)
        # Dead instead of failing: connection refused is retried too.
        bad.kill()
        r = self.send(500, "details", rate=500)
        self.assertEqual((r["failed"], r["status"]["5xx"]), (0, 0), r)
        app.restart()
        app.wait_ready()

    def counted(self):
        """Envoy's names, whoever carries: what dashboards and scripts ask for."""
        def answered():
            return sum(v for k, v in self.p.stats("downstream_rq_2xx").items()
                       if k.startswith("http.") and "admin" not in k)
        self.route("reviews", weighted("reviews", [("v1", 100)]))
        before = answered()
        r = self.send(500, rate=500)
        self.assertEqual(answered() - before, r["status"]["2xx"])
        name = f"cluster.outbound|{PORT}|v1|reviews.default.svc.cluster.local.upstream_rq_2xx"
        self.assertIn(name, self.p.stats("upstream_rq_2xx"))

    def change_under_load(self):
        """Weights move while requests flow: none is lost in any of the changes."""
        load = Load(self.cluster, to=f"{self.p.address}:15001", host=f"reviews:{PORT}",
                    path="/reviews", rate=500, connections=32, tally="x-version")
        load.wait_sent(100)
        for i in range(20):
            self.route("reviews", weighted("reviews", [("v1", 100 - i), ("v2", i or 1)]))
        r = load.finish()
        self.assertEqual((r["failed"], r["status"]["5xx"]), (0, 0), r)


class WeftProxy(Splits):
    @classmethod
    def proxy(cls):
        return client_proxy(cls.cluster, 50)

    test_shares = Splits.shares
    test_header = Splits.header
    test_faults = Splits.faults
    test_retries = Splits.retries
    test_counted = Splits.counted
    test_change_under_load = Splits.change_under_load


class RealEnvoy(Splits):
    @classmethod
    def proxy(cls):
        return Envoy(cls.cluster, "client", cls.cluster.host(60))

    test_shares = Splits.shares
    test_header = Splits.header
    test_faults = Splits.faults
    test_retries = Splits.retries
    test_counted = Splits.counted
    test_change_under_load = Splits.change_under_load


if __name__ == "__main__":
    main()
