#!/usr/bin/env python3
"""If this fails, a field of a rule that our schema takes makes a proxy refuse its update: each case of the
compiler's own table (pilot/build_rules_test.c) is applied alone to real Envoys, sidecar and gateway, delta
and state of the world, and to weft-proxy; each must acknowledge each."""

import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, Proxy  # noqa: E402
from lib.peers import Envoy  # noqa: E402

GATEWAY = {"istio": "ingressgateway"}
SUBSETS = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
           "metadata": {"name": "subsets", "namespace": "default"},
           "spec": {"host": "a", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]}}


# What weft-proxy says that it does not carry, and must say so by the field's name. Envoy carries all.
NOT_YET = {"mirror": "request_mirror_policies", "CORS": "envoy.filters.http.cors",
           "the age of CORS in seconds": "envoy.filters.http.cors"}


def cases(bin_dir):
    """[(what, objects)], the shop first."""
    test = os.path.join(bin_dir, "..", "tests", "weft_pilot_build_rules_test")
    if not os.path.exists(test):
        raise unittest.SkipTest(f"{test} is not built")
    out = subprocess.run([test, "--dump"], check=True, capture_output=True, text=True).stdout
    return [(c["what"], c["objects"]) for c in map(json.loads, out.splitlines())]


def named(obj):
    return {k: obj[k] for k in ("apiVersion", "kind", "metadata")}


class Rules(Case):
    @classmethod
    def begin(cls):
        cls.cluster = c = Cluster(n=1, ws=cls.ws)
        (_, shop), *cls.cases = cases(c.bin_dir)
        c.start()
        c.batch([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}])
        c.batch(shop + [SUBSETS])
        app = {"app": "a"}
        cls.envoys = [
            Envoy(c, "none", c.host(60), labels=app),
            Envoy(c, "redirect", c.host(61), interception="REDIRECT", labels=app),
            Envoy(c, "sotw", c.host(62), interception="REDIRECT", delta=False),
            Envoy(c, "ingress", c.host(63), interception="REDIRECT", kind="router", labels=GATEWAY,
                  namespace="istio-system"),
        ]
        for e in cls.envoys:
            e.wait_ready()
        cls.weft = Proxy(c, "weft", c.host(64), app)
        c.wait_proxies(len(cls.envoys) + 1, timeout=20)
        c.wait(timeout=20)

    def test_every_case(self):
        for what, objects in self.cases:
            with self.subTest(what):
                self.cluster.batch(objects)
                if what in NOT_YET:
                    self.refused_by_weft(NOT_YET[what])
                else:
                    answer = self.cluster.wait(timeout=10)  # asserts that nobody refused
                    self.assertEqual(answer["live"], len(self.envoys) + 1)
                for e in self.envoys:
                    self.assertEqual((e.updates()[1], e.errors()), (0, []), e.name)
                self.cluster.batch([named(o) for o in objects], verb="delete")
        note(f"{len(self.cases)} cases; weft-proxy carries neither of: {', '.join(NOT_YET)}")

    def refused_by_weft(self, field):
        """It keeps what it had, and the answer names proxy, field and object."""
        answer = self.cluster.api("GET", "/weft/v1/wait?timeout=10s", timeout=15).json()
        self.assertEqual(answer["live"], len(self.envoys), answer)
        self.assertEqual([r["proxy"] for r in answer["rejected"]], ["weft.default"], answer)
        self.assertIn(field, answer["rejected"][0]["message"])
        sources = answer["rejected"][0]["sources"]
        self.assertTrue([x for x in sources if x.startswith("virtualservices")], sources)


if __name__ == "__main__":
    main()
