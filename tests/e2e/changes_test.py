#!/usr/bin/env python3
"""If this fails, a change of the model costs requests that are under way: a service moves between two ports
of its instances, instances come and go, subsets and their routes come and go, also while requests wait for
a fault's delay or a retry, each many times under load."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.bookinfo import (PORT, client_proxy, destination_rule, service, virtual_service,  # noqa: E402
                          weighted, workload)
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import App, Cluster, Load, Proxy  # noqa: E402

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


if __name__ == "__main__":
    main()
