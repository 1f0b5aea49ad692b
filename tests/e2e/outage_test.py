#!/usr/bin/env python3
"""If this fails, the control plane may not be down: with every node dead, users would see it; and a proxy
that restarts meanwhile would come up empty."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib import web  # noqa: E402
from lib.bookinfo import (Bookinfo, PORT, client_proxy, destination_rule, virtual_service,  # noqa: E402
                          weighted)
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, Load, wait_for  # noqa: E402

SECONDS = float(os.environ.get("WEFT_OUTAGE_SECONDS", "5"))


class Outage(Case):
    @classmethod
    def begin(cls):
        cls.cluster = c = Cluster(n=3, ws=cls.ws).start()
        Bookinfo(c, only=["reviews-v1", "reviews-v2"]).start().register()
        c.batch([destination_rule("reviews", ["v1", "v2"]),
                 virtual_service("reviews", weighted("reviews", [("v1", 90), ("v2", 10)]))])
        cls.proxies = [client_proxy(c, 50 + i, f"client-{i}", first=i + 1) for i in range(3)]
        for p in cls.proxies:
            p.wait_ready()
        c.wait_proxies(3)

    def ask(self, proxy, **kw):
        return web.get(f"{proxy.address}:15001", "/reviews",
                       headers={"Host": f"reviews:{PORT}"}, timeout=2, **kw)

    def test_all_nodes_dead(self):
        c = self.cluster
        loads = [Load(c, to=f"{p.address}:15001", host=f"reviews:{PORT}", path="/reviews", rate=200,
                      connections=16, tally="x-version") for p in self.proxies[:2]]
        loads[0].wait_sent(100)
        for node in c.nodes:
            node.kill()
        dead = time.monotonic()

        # The third one restarts now, with nobody to ask.
        restarted = self.proxies[2]
        begun = time.monotonic()
        restarted.restart()
        wait_for(lambda: self.ask(restarted).status == 200, 10, "the restarted proxy serves",
                 every=0.005)
        note(f"serves {1000 * (time.monotonic() - begun):.0f} ms after its restart")
        self.assertLess(time.monotonic() - begun, 1.0)
        self.assertTrue(restarted.xds()["restored"])

        wait_for(lambda: time.monotonic() - dead >= SECONDS, SECONDS + 5, "the outage is over")
        for load in loads:
            load.wait_sent(50)
        bytes_before = {p.name: p.xds()["resource_bytes"] for p in self.proxies[:2]}
        for node in c.nodes:
            node.start()
        c.wait_ready()
        c.wait_proxies(3, timeout=30)
        # They took up where they were: nothing is sent again, and a change arrives everywhere.
        self.assertEqual({p.name: p.xds()["resource_bytes"] for p in self.proxies[:2]}, bytes_before)
        revision = c.batch([virtual_service("reviews", weighted("reviews", [("v2", 100)]))])
        c.wait(revision)
        self.assertEqual(self.ask(restarted).header("x-version"), "reviews-v2")
        for load in loads:
            r = load.finish()
            self.assertEqual((r["failed"], r["lost"], r["status"]["5xx"]), (0, 0, 0), r)
            note(f"{r['sent']} requests, none failed, over {SECONDS:g} s without a control plane")


if __name__ == "__main__":
    main()
