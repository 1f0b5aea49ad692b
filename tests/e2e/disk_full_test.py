#!/usr/bin/env python3
"""If this fails, a disk that fills up ends nodes, loses what was acknowledged, or stops reads."""

import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..")]

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, Workspace, wait_for  # noqa: E402

ENTRIES = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"
DISK_MIB = 256


def entry(name, weight):
    return {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"address": "127.1.0.1", "weight": weight}}


def write(node, weight):
    return node.api("POST", "/weft/v1/batch", {"items": [{"verb": "apply", "object": entry("a", weight)}]}, timeout=10)


class Disk:
    """A small one for each node, which somebody else fills."""

    def __init__(self, node):
        self.dir = node.data
        os.makedirs(self.dir)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "weft-test", self.dir],
                          capture_output=True, check=False).returncode:
            raise unittest.SkipTest("no tmpfs can be mounted here")
        self.filler = os.path.join(self.dir, "somebody-else")

    def fill(self, leave_mib=0):
        with open(self.filler, "wb") as f:
            fs = os.statvfs(self.dir)
            left = fs.f_bavail * fs.f_frsize - (leave_mib << 20)
            try:
                os.posix_fallocate(f.fileno(), 0, max(left, 4096))
            except OSError:
                pass

    def free(self):
        os.unlink(self.filler)

    def close(self):
        subprocess.run(["umount", self.dir], check=True)


class DiskFull(Case):
    def begin_cluster(self, n=3):
        ws = Workspace("disk-full")
        c = Cluster(ws=ws, n=n)
        disks = {}
        try:
            for node in c.nodes:
                disks[node.name] = Disk(node)
        except unittest.SkipTest:
            for d in disks.values():
                d.close()
            raise

        def close():
            for node in c.nodes:
                if node.process:
                    node.process.stop()
            for d in disks.values():
                d.close()
            ws.close()
        self.addCleanup(close)
        return c.start(), disks

    def full(self, node, asked):
        return any(m["name"] == node.name and m.get("diskFull") for m in asked.status()["members"])

    def test_one_follower(self):
        """The others are the majority, and it catches up by itself."""
        c, disks = self.begin_cluster()
        lead, node = c.leader(), c.follower()
        write(lead, 1)
        c.wait_caught_up()
        for leave in (30, 0):
            disks[node.name].fill(leave)
            wait_for(lambda: self.full(node, lead), 10, "the leader knows")
            before = node.status()["revision"]
            for i in range(2, 30):
                r = write(c.nodes[i % 3], i)
                self.assertEqual(r.status, 507 if c.nodes[i % 3] is node else 200, r)
            subprocess.run([os.path.join(c.bin_dir, "weft"), "apply", "-f", "-", "--server",
                            f"{node.api_addr},{lead.api_addr}"], check=True, capture_output=True, text=True,
                           input="apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: b}\n"
                                 f"spec: {{address: 127.1.0.1, weight: {leave + 1}}}\n")
            self.assertEqual(node.api("GET", f"{ENTRIES}/a").status, 200)
            self.assertEqual(node.status()["revision"], before, "its disk takes nothing")
            out = subprocess.run([os.path.join(c.bin_dir, "weft"), "status", "--server", lead.api_addr],
                                 capture_output=True, text=True, check=False).stdout
            self.assertIn(f"The disk of member {node.name} is full", out)
            self.assertEqual(node.metrics()["weft_disk_full"], 1)
            disks[node.name].free()
            c.wait_same()
            wait_for(lambda: not self.full(node, lead), 10, "and that it has room")
        self.assertEqual(node.api("GET", f"{ENTRIES}/a").json()["spec"]["weight"], max(
            i for i in range(2, 30) if c.nodes[i % 3] is not node))

    def test_the_leader(self):
        """It hands over to one that has room."""
        c, disks = self.begin_cluster()
        lead = c.leader()
        write(lead, 1)
        disks[lead.name].fill()
        others = [n for n in c.nodes if n is not lead]
        wait_for(lambda: any(n.status()["node"]["role"] == "leader" for n in others), 10, "another one leads")
        for node in others:
            wait_for(lambda n=node: write(n, 2).status == 200, 10, f"a write at {node.name}")
        self.assertEqual(write(lead, 3).status, 507)
        disks[lead.name].free()
        c.wait_same()

    def test_all(self):
        """Writes are refused, and say why; all else goes on; when there is room it is over."""
        c, disks = self.begin_cluster()
        acknowledged = 0
        for i in range(1, 20):
            if write(c.nodes[i % 3], i).status == 200:
                acknowledged = i
        c.wait_caught_up()
        for d in disks.values():
            d.fill()
        for node in c.nodes:
            wait_for(lambda n=node: self.full(n, n), 10, f"{node.name} knows")
        for node in c.nodes:
            r = wait_for(lambda n=node: (r := write(n, 99)).status == 507 and r, 10, "a refusal")
            self.assertIn("is full", r.json()["message"])
            self.assertEqual(node.api("GET", f"{ENTRIES}/a").json()["spec"]["weight"], acknowledged)
            self.assertEqual(node.api("GET", f"{ENTRIES}/a?consistency=linearizable").status, 200)
        c.leader().process.kill()  # terms and votes still find room
        survivors = c.alive()
        wait_for(lambda: any(n.status()["node"]["role"] == "leader" for n in survivors), 10, "a new leader")
        for node in survivors:
            self.assertEqual(node.api("GET", f"{ENTRIES}/a").json()["spec"]["weight"], acknowledged)
        pids = [n.pid for n in survivors]
        for d in disks.values():
            d.free()
        began = wait_for(lambda: write(survivors[0], 100).status == 200, 5, "writes are taken again")
        self.assertTrue(began)
        self.assertEqual([n.pid for n in survivors], pids, "no restart")
        for node in c.nodes:
            if not node.alive():
                node.start()
        c.wait_same()
        note(f"{acknowledged} writes before, all there")


class Quota(Case):
    def test_quota(self):
        """At the quota deletions are taken, and nothing else; then it clears by itself."""
        c = Cluster(ws=self.ws, flags=["--store-quota-mib", "2"]).start()

        def one(i, verb="apply"):
            o = entry(f"q{i}", 1)
            o["metadata"]["annotations"] = {"a": "x" * 60000}
            return {"items": [{"verb": verb, "object": o}]}

        written, refused = 0, None
        while not refused and written < 200:
            r = c.nodes[written % 3].api("POST", "/weft/v1/batch", one(written), timeout=10)
            if r.status == 200:
                written += 1
            else:
                refused = r
        self.assertEqual(refused.status, 507, refused)
        self.assertIn("quota is 2 MiB", refused.json()["message"])
        lead = c.leader()
        out = subprocess.run([os.path.join(c.bin_dir, "weft"), "status", "--server", lead.api_addr],
                             capture_output=True, text=True, check=False).stdout
        self.assertIn("NOSPACE", out)
        self.assertEqual(lead.metrics()["weft_store_over_quota"], 1)
        for i in range(written // 2):
            r = c.nodes[i % 3].api("DELETE", f"{ENTRIES}/q{i}", timeout=10)
            self.assertEqual(r.status, 200, r)
        wait_for(lambda: not lead.status()["quota"]["reached"], 10, "the alarm clears")
        r = c.follower().api("POST", "/weft/v1/batch", one(1000), timeout=10)
        self.assertEqual(r.status, 200, r)
        c.wait_same()
        note(f"{written} objects of 60 kB fit into 2 MiB")


class NamespaceQuota(Case):
    def test_namespace(self):
        """One namespace is full: on every node, also after a restart and for a node that got all of it from the others."""
        c = Cluster(ws=self.ws).start()
        shop = {"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "shop", "annotations": {"weft.dev/quota-objects": "10", "weft.dev/quota-bytes": "1Mi"}}}

        def one(i, verb="apply", namespace="shop"):
            o = entry(f"q{i}", 1)
            o["metadata"]["namespace"] = namespace
            return {"items": [{"verb": verb, "object": o}]}

        def post(node, body, status):
            r = node.api("POST", "/weft/v1/batch", body, timeout=10)
            self.assertEqual(r.status, status, r)
            return r

        wait_for(lambda: c.nodes[0].status()["clusterVersion"] >= 4, 30, "the cluster's version has quotas")
        post(c.nodes[0], {"items": [{"verb": "apply", "object": shop}]}, 200)
        for i in range(10):
            post(c.nodes[i % 3], one(i), 200)
        c.wait_same()
        c.follower().kill()
        next(n for n in c.nodes if not n.alive()).start()
        c.wait_same()
        wiped = c.follower()
        wiped.kill()
        shutil.rmtree(wiped.data)
        wiped.start()
        c.wait_same()
        wait_for(lambda: wiped.status()["quorum"], 10, "the wiped node is back")
        for node in c.nodes:
            self.assertIn("namespace shop has 10 of 10 objects", post(node, one(10), 507).json()["message"])
            wait_for(lambda n=node: n.status()["namespaceQuotas"]["shop"]["full"], 10, "it is full")
            values = {k: v for k, v in node.status()["namespaceQuotas"]["shop"].items() if k != "refused"}
            self.assertEqual(values, {k: v for k, v in c.nodes[0].status()["namespaceQuotas"]["shop"].items()
                                      if k != "refused"})
            self.assertEqual(node.metrics()["weft_store_namespace_full"], 1)
            out = subprocess.run([os.path.join(c.bin_dir, "weft"), "status", "--server", node.api_addr],
                                 capture_output=True, text=True, check=False).stdout
            self.assertIn("Namespace shop is at its quota: 10 of 10 objects", out)
        post(c.nodes[0], one(10, namespace="default"), 200)
        self.assertEqual(c.nodes[1].api("DELETE", f"{ENTRIES.replace('default', 'shop')}/q1", timeout=10).status, 200)
        post(c.nodes[2], one(11), 200)
        r = c.nodes[1].api("PATCH", "/api/v1/namespaces/shop", {"metadata": {"annotations": None}}, timeout=10,
                           headers={"Content-Type": "application/merge-patch+json"})
        self.assertEqual(r.status, 200, r)
        post(c.nodes[2], one(12), 200)
        c.wait_same()
        for node in c.nodes:
            self.assertEqual(node.status()["namespaceQuotas"], {})
            self.assertNotIn("weft_store_namespace_full", node.metrics())


if __name__ == "__main__":
    main()
