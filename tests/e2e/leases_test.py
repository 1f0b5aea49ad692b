#!/usr/bin/env python3
"""If this fails, machines that live are thrown out of the mesh when a leader dies or a network fails, machines that
are gone stay in it, or an owner that was replaced still writes."""

import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..")]

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
ENTRIES = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"
TTL = 3


def lease(name, holder, **annotations):
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": TTL}}


def entry(name, on):
    return {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default", "annotations": {"weft.dev/lease": on}},
            "spec": {"address": "127.1.0.1"}}


class Alive(threading.Thread):
    """Gives signs of life for some leases, through whichever node answers."""

    def __init__(self, cluster, epochs):
        super().__init__(daemon=True)
        self.cluster, self.epochs, self.over, self.lost, self.failed = cluster, epochs, False, set(), 0
        self.start()

    def run(self):
        i = 0
        while not self.over:
            i += 1
            body = {"leases": [{"name": n, "epoch": e} for n, e in self.epochs.items()]}
            try:
                r = self.cluster.nodes[i % 3].api("POST", "/weft/v1/leases/renew", body, timeout=1)
                for x in r.json().get("leases", []):
                    if not x["held"]:
                        self.lost.add(x["name"])
                self.failed += r.status != 200
            except OSError:
                self.failed += 1
                continue
            time.sleep(TTL / 6)

    def stop(self):
        self.over = True
        self.join()


class Leases(Case):
    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws).start()

    def register(self, names):
        self.cluster.batch([lease(n, n, **{"weft.dev/on-expiry": "delete"}) for n in names])
        self.cluster.batch([entry(n, n) for n in names])
        items = self.cluster.leader().api("GET", LEASES).json()["items"]
        return {o["metadata"]["name"]: o["spec"]["leaseTransitions"] for o in items if o["metadata"]["name"] in names}

    def there(self, names):
        r = self.cluster.leader().api("GET", ENTRIES)
        have = {o["metadata"]["name"] for o in r.json()["items"]}
        return [n for n in names if n in have]

    def held_back(self):
        return self.cluster.leader().metrics().get("weft_leases_held_back", 0)

    def test_leader_dies(self):
        """Who gives signs of life stays, whoever leads; who is gone goes in time."""
        names = [f"vm-{i}" for i in range(40)]
        epochs = self.register(names + ["gone"])
        del epochs["gone"]
        alive = Alive(self.cluster, epochs)
        for _ in range(2):
            node = self.cluster.leader()
            node.kill()
            self.cluster.leader(timeout=20)
            time.sleep(TTL)
            node.restart()
            self.cluster.wait_ready()
        start = time.monotonic()
        wait_for(lambda: not self.there(["gone"]), timeout=3 * TTL + 10)
        note(f"the one that is gone: {time.monotonic() - start:.1f} s after the last change of leader")
        time.sleep(TTL)
        alive.stop()
        self.assertEqual((alive.lost, self.there(names)), (set(), names))
        note(f"{alive.failed} signs of life found no leader")
        for n in names:
            self.cluster.api("DELETE", f"{LEASES}/{n}")

    def test_many_at_once(self):
        """Half of all machines fall silent: held back, until somebody says that they are gone."""
        names = [f"mass-{i}" for i in range(60)]
        epochs = self.register(names)
        alive = Alive(self.cluster, {n: epochs[n] for n in names[:30]})
        wait_for(lambda: self.held_back() == 30, timeout=3 * TTL + 10)
        time.sleep(TTL)
        self.assertEqual(self.there(names), names)
        r = self.cluster.follower().api("POST", "/weft/v1/leases/approve")
        self.assertEqual((r.status, r.json()), (200, {"approved": 30}))
        wait_for(lambda: self.there(names) == names[:30], timeout=10)
        alive.stop()
        self.assertEqual(alive.lost, set())

    def test_owner_is_replaced(self):
        """The lease of an owner that sleeps goes to another; what the first writes then is void."""
        node = self.cluster.follower()
        r = node.api("POST", LEASES, lease("adapter", "a"))
        self.assertEqual(r.status, 201, r)
        first = r.json()["spec"]["leaseTransitions"]
        self.assertEqual(node.api("PUT", f"{LEASES}/adapter", lease("adapter", "b")).status, 409)
        wait_for(lambda: node.api("PUT", f"{LEASES}/adapter", lease("adapter", "b")).status == 200, timeout=3 * TTL)
        self.assertEqual(node.api("GET", f"{LEASES}/adapter").json()["spec"]["leaseTransitions"], first + 1)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "by-a"}}
        for epoch, status in ((first, 409), (first + 1, 201)):
            r = node.api("POST", "/api/v1/namespaces", body, headers={"weft-fence": f"adapter={epoch}"})
            self.assertEqual(r.status, status, r)


if __name__ == "__main__":
    main()
