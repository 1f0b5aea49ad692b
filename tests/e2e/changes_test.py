#!/usr/bin/env python3
"""If this fails, a change of the model costs requests that are under way: a service moves between two ports
of its instances, instances come and go, subsets and their routes come and go, also while requests wait for
a fault's delay or a retry, each many times under load."""

import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import web  # noqa: E402
from lib.bookinfo import (PORT, client_proxy, destination_rule, service, virtual_service,  # noqa: E402
                          weighted, workload)
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import App, Cluster, Load, Proxy, wait_for  # noqa: E402

CHANGES, EVERY, RATE = 60, 0.05, 300
PORTS = (9001, 9002)
ADDRESSES = (31, 32)
FLAKY = (51, 52, 53)


def named(obj):
    return {k: obj[k] for k in ("apiVersion", "kind", "metadata")}


class Changes(Case):
    """Two instances with a proxy each, the application behind it on loopback, and a client's proxy."""

    @classmethod
    def begin(cls):
        cls.cluster = c = Cluster(n=1, ws=cls.ws).start()
        cls.entries = [workload(f"web-{last}", c.host(last), {"app": "web", "version": "v1"})
                       for last in ADDRESSES]
        for port in PORTS:
            App(c, "web", "v1", f"127.0.0.1:{port}", tag=f"-{port}").wait_ready()
        c.batch([service("web", port=80, target=PORTS[0]), *cls.entries])
        for last in ADDRESSES:
            Proxy(c, f"web-{last}", c.host(last), {"app": "web"}).wait_ready()
        cls.client = client_proxy(c, 40).wait_ready()
        c.wait_proxies(len(ADDRESSES) + 1)
        c.wait()

    def under_load(self, change, host="web:80"):
        load = Load(self.cluster, to=f"{self.client.address}:15001", host=host, rate=RATE,
                    timeout_ms=3000)
        load.wait_sent(RATE // 10)
        for i in range(CHANGES):
            change(i)
            time.sleep(EVERY)
        load.wait_sent(RATE // 10)
        total = load.finish()
        self.cluster.wait()
        note(f"{CHANGES} changes, {total['sent']} requests, {total['failed']} failed")
        self.assertEqual((total["failed"], total["last_failure"]), (0, ""))
        self.assertGreater(total["ok"], RATE * CHANGES * EVERY / 2)

    def test_another_port(self):
        self.under_load(lambda i: self.cluster.batch([service("web", port=80, target=PORTS[(i + 1) % 2])]))

    def test_instances(self):
        def change(i):
            entry = self.entries[i // 2 % 2]
            if i % 2:
                self.cluster.batch([entry])
            else:
                self.cluster.batch([named(entry)], verb="delete")
        self.under_load(change)

    def test_subsets(self):
        rules = [destination_rule("web", ["v1"]), virtual_service("web", weighted("web", [("v1", 100)]))]

        def change(i):
            if i % 2:
                self.cluster.batch([named(o) for o in rules], verb="delete")
            else:
                self.cluster.batch(rules)
        self.under_load(change)

    def test_subsets_behind_fault_and_retries(self):
        """One of three instances answers 503 always, each request waits 100 ms before its first try, and
        the subset of its route goes while it waits: neither is the user's business."""
        c = self.cluster
        for i, last in enumerate(FLAKY):
            App(c, "flaky", "v1", f"{c.host(last)}:{PORT}", fail=i == 0, tag=f"-{last}").wait_ready()
        c.batch([service("flaky", port=80, target=PORT),
                 *[workload(f"flaky-{last}", c.host(last), {"app": "flaky", "version": "v1"})
                   for last in FLAKY]])
        rule = destination_rule("flaky", ["v1"])

        def through(**destination):
            return virtual_service("flaky", [{
                "fault": {"delay": {"percentage": {"value": 100}, "fixedDelay": "100ms"}},
                "retries": {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx"},
                "route": [{"destination": {"host": "flaky", **destination}}]}])

        def change(i):
            if i % 2:
                c.batch([through()])
                c.batch([named(rule)], verb="delete")
            else:
                c.batch([rule, through(subset="v1")])

        c.batch([through()])
        c.wait()
        self.under_load(change, host="flaky:80")

    def test_a_workload_has_one_proxy(self):
        """A second one would share its ports. The address is free again when the first has ended."""
        first = Proxy(self.cluster, "first", self.cluster.host(41)).wait_ready()
        argv = [str(a) for a in first.process.argv]
        second = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn(f"another sidecar runs for {first.address}", second.stderr)
        first.stop()
        first.start().wait_ready()
        first.stop()


class Start(Case):
    """If this fails, a proxy that starts answers 404 for services that are there, or says that it is ready
    before anybody can connect."""

    STARTS = 15

    @classmethod
    def begin(cls):
        cls.cluster = c = Cluster(n=1, ws=cls.ws).start()
        App(c, "shop", "v1", f"{c.host(31)}:9080").wait_ready()
        others = [service(f"other{i}", port=80 + i) for i in range(30)]
        c.batch([service("shop", port=80, target=9080), workload("shop", c.host(31), {"app": "shop"}), *others])
        cls.proxy = Proxy(c, "fresh", c.host(40), state=False, start=False)

    def ask(self):
        return web.get(f"{self.proxy.address}:15001", "/", headers={"Host": "shop"})

    def test_first_answer(self):
        for _ in range(self.STARTS):
            self.proxy.start()
            self.assertEqual(wait_for(self.ask, 10, "an answer", every=0.0005).status, 200)
            self.proxy.kill()

    def test_ready_is_open(self):
        for _ in range(self.STARTS):
            self.proxy.start()
            wait_for(self.proxy.ready, 10, "it is ready", every=0.0005)
            self.assertEqual(self.ask().status, 200)
            self.proxy.kill()


def gateway(name, bind, port):
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": name},
            "spec": {"selector": {"istio": "ingressgateway"},
                     "servers": [{"port": {"number": port, "name": "http", "protocol": "HTTP"},
                                  "bind": bind, "hosts": [f"{name}.example"]}]}}


class TakenAddress(Case):
    """If this fails, one listener whose address somebody else has makes the control plane call others
    refused, or goes on being called so when it is gone or bound: every later wait fails."""

    @classmethod
    def begin(cls):
        cls.cluster = c = Cluster(n=1, ws=cls.ws).start()
        cls.proxy = Proxy(c, "gw", c.host(50), {"istio": "ingressgateway"}, kind="router").wait_ready()
        c.wait_proxies(1)

    def refused(self):
        rows = self.cluster.status()["proxies"]["rejections"]
        return sorted(r["resource"] for r in rows)

    def take(self, port):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.proxy.address, port))
        s.listen()
        return s

    def wait_refused(self, names):
        wait_for(lambda: self.refused() == names, 10, f"{names} are refused")

    def wait_listens(self, port):
        at = (self.proxy.address, port)
        wait_for(lambda: socket.create_connection(at, 1).close() is None, 10, f"{at} listens")

    def bring(self, port, guilty, innocent):
        """One listener on a taken port, then others: only the one is refused."""
        bind = self.proxy.address
        s = self.take(port)
        self.cluster.batch([gateway(guilty, bind, port)])
        self.wait_refused([f"{bind}_{port}"])
        self.cluster.batch([gateway(innocent, bind, port + 1)])
        self.wait_listens(port + 1)
        both = [gateway(f"{innocent}-{i}", bind, port + 2 + i) for i in range(2)]
        self.cluster.batch(both)
        r = self.cluster.api("GET", f"/weft/v1/wait?revision={self.cluster.revision()}&timeout=10000ms")
        self.assertEqual([x["resource"] for x in r.json()["rejected"]], [f"{bind}_{port}"])
        return s

    def test_until_it_is_deleted(self):
        with self.bring(8100, "a", "b"):
            self.cluster.batch([named(gateway("a", "", 0))], verb="delete")
            self.cluster.wait()
            self.assertEqual(self.refused(), [])

    def test_until_it_is_bound(self):
        self.bring(8200, "c", "d").close()
        self.wait_refused([])
        self.cluster.wait()
        self.wait_listens(8200)
        self.assertEqual(self.proxy.xds()["connects"], 1)

    def test_lost_after_its_answer(self):
        """A restart, from the file, with an address that was taken meanwhile."""
        self.cluster.batch([gateway("e", self.proxy.address, 8300)])
        self.cluster.wait()
        self.proxy.stop()
        with self.take(8300):
            self.proxy.start()
            self.wait_refused([f"{self.proxy.address}_8300"])
        self.wait_refused([])
        self.cluster.wait()


if __name__ == "__main__":
    main()
