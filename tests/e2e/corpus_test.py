#!/usr/bin/env python3
"""If this fails, configuration that runs on Istio today makes a proxy of this mesh refuse its update: a
real Envoy, weft-proxy or a gRPC client. Every file of Istio's example is taken, compiled and sent to all
kinds of proxies at once; each must acknowledge each."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import corpus  # noqa: E402
from lib.bookinfo import Bookinfo, PORT, client_proxy  # noqa: E402
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, Proxy, wait_for  # noqa: E402
from lib.peers import Envoy, GrpcPython, grpc_go, grpc_server, weft  # noqa: E402

GATEWAY = {"istio": "ingressgateway"}


def apply_files(cluster, *paths):
    """One after the other by weft apply; the last run."""
    for path in paths:
        r = weft(cluster, "apply", "-f", path)
        if r.code:
            break
    return r


class Corpus(Case):
    """Subclasses connect their proxies in connect()."""

    @classmethod
    def connect(cls):
        raise NotImplementedError

    @classmethod
    def begin(cls):
        if cls is Corpus:
            return
        cls.cluster = Cluster(n=1, ws=cls.ws).start()
        cls.bookinfo = Bookinfo(cls.cluster)
        cls.bookinfo.register()
        cls.proxies = cls.connect()
        cls.cluster.wait_proxies(len(cls.proxies), timeout=20)

    def rejections(self):
        return self.cluster.status()["proxies"]["rejections"]

    def every_file(self):
        subsets = corpus.bookinfo("destination-rule-all.yaml")
        for path in corpus.bookinfo():
            with self.subTest(os.path.basename(path)):
                r = apply_files(self.cluster, subsets, path)
                self.assertEqual(r.code, 0, r)
                answer = self.cluster.api("GET", "/weft/v1/wait?timeout=10s", timeout=15).json()
                self.assertEqual(answer["rejected"], [])
                self.assertEqual(answer["live"], len(self.proxies), answer)
                self.check_file()
        self.assertEqual(self.rejections(), [])

    def check_file(self):
        """What each kind of proxy says about itself after a file."""


class WeftProxies(Corpus):
    @classmethod
    def connect(cls):
        c = cls.cluster
        cls.bookinfo.start()
        return [client_proxy(c, 50), Proxy(c, "ingress", c.host(2), GATEWAY, kind="router")]

    def check_file(self):
        for p in self.proxies:
            self.assertEqual(p.xds()["rejected"], 0, p.name)

    def test_every_file(self):
        self.every_file()


class Envoys(Corpus):
    @classmethod
    def connect(cls):
        c = cls.cluster
        made = []
        for i, (delta, mode) in enumerate(((True, "NONE"), (False, "NONE"), (True, "REDIRECT"),
                                           (False, "REDIRECT"))):
            name = f"{'delta' if delta else 'sotw'}-{mode.lower()}"
            made.append(Envoy(c, name, c.host(60 + i), delta=delta, interception=mode))
        made.append(Envoy(c, "ingress", c.host(2), kind="router", labels=GATEWAY))
        for e in made:
            e.wait_ready()
        return made

    def check_file(self):
        for e in self.proxies:
            self.assertEqual((e.updates()[1], e.errors()), (0, []), e.name)

    def test_every_file(self):
        self.every_file()
        note("Envoy's updates: " + ", ".join(f"{e.name} {e.updates()[0]}" for e in self.proxies))


class Grpc(Corpus):
    """Proxyless clients follow the same rules as proxies do."""

    services = ["productpage", "details", "reviews", "ratings"]

    @classmethod
    def connect(cls):
        c = cls.cluster
        servers = [grpc_server(c, svc, version, f"{c.host(last)}:{PORT}")
                   for svc, version, last in cls.bookinfo.instances.values()]
        assert servers
        apply_files(c, corpus.bookinfo("destination-rule-all.yaml"))
        apply_files(c, corpus.bookinfo("virtual-service-all-v1.yaml"))
        cls.python = GrpcPython(c, c.host(70), [f"{s}:{PORT}" for s in cls.services])
        for s in cls.services:
            r = cls.python.call(f"{s}:{PORT}")
            assert r["tally"] == {"v1": 1}, r
        return [cls.python] * len(cls.services)  # a stream a target

    def test_every_file(self):
        self.every_file()

    def versions(self, name, count, expect, **headers):
        """Shares as Python and Go see them, once the first call of the channel that was open before went
        to a version that the file names: gRPC acknowledges a little before its channels change."""
        path = corpus.bookinfo(name)
        r = apply_files(self.cluster, corpus.bookinfo("destination-rule-all.yaml"), path)
        self.assertEqual(r.code, 0, r)
        self.cluster.wait()
        wait_for(lambda: set(self.python.call(f"reviews:{PORT}", 1, list(headers.items()))["tally"])
                 <= expect, 5, "the open channel follows the file")
        python = self.python.call(f"reviews:{PORT}", count, list(headers.items()))
        go = grpc_go(self.cluster, self.cluster.host(71), f"reviews:{PORT}", count,
                     user=headers.get("end-user", ""))
        self.assertEqual(python["codes"], {"OK": count}, python)
        self.assertEqual(go["failed"], 0, go)
        return python["tally"], go["tally"]

    def test_split(self):
        for tally in self.versions("virtual-service-reviews-90-10.yaml", 2000, {"v1", "v2"}):
            self.assertAlmostEqual(tally["v1"] / 20, 90, delta=3)
            self.assertAlmostEqual(tally["v2"] / 20, 10, delta=3)

    def test_header(self):
        for tally in self.versions("virtual-service-reviews-jason-v2-v3.yaml", 50, {"v2"},
                                   **{"end-user": "jason"}):
            self.assertEqual(tally, {"v2": 50})
        for tally in self.versions("virtual-service-reviews-jason-v2-v3.yaml", 50, {"v3"}):
            self.assertEqual(tally, {"v3": 50})

    def test_endpoint_goes(self):
        """An instance that leaves gets no more calls; the client needs no restart."""
        c = self.cluster
        self.versions("virtual-service-reviews-v3.yaml", 5, {"v3"})
        mine = [o for o in self.bookinfo.objects() if o["metadata"]["name"] in
                ("reviews-1", "reviews-v3")]
        less = dict(mine[0], endpoints=[e for e in mine[0]["endpoints"]
                                        if e["addresses"] != [c.host(133)]])
        c.batch([less])
        c.batch([mine[1]], verb="delete")
        c.wait()
        wait_for(lambda: self.python.call(f"reviews:{PORT}", 1, timeout=0.2)["codes"] != {"OK": 1},
                 10, "calls to a subset without endpoints fail")
        c.batch(mine)
        c.wait()
        r = self.python.call(f"reviews:{PORT}", 5)
        self.assertEqual(r["tally"], {"v3": 5}, r)


if __name__ == "__main__":
    main()
