#!/usr/bin/env python3
"""If this fails, a control plane cannot be upgraded one node after another while clients write: a node is sent what
its program does not read, nobody can go back before all are new, or an older program comes in afterwards.

The older program is weftd with --hold-version 3: it says that it reads version 3 alone, and refuses what is newer."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402
from lib.writers import PATH, Writers  # noqa: E402

OLD, NEW = 3, 4
HOLD = ["--hold-version", str(OLD)]


class Programs(Case):
    """A cluster of the older program, and clients that write."""

    tls = False

    def setUp(self):
        self.cluster = Cluster(ws=self.ws, tls=self.tls)
        self.addCleanup(self.stop_cluster)
        for node in self.cluster.nodes:
            node.extra = HOLD
        self.cluster.start()
        self.writers = Writers(self.cluster)
        self.addCleanup(self.stop_writers)

    def stop_cluster(self):
        for node in self.cluster.nodes:
            if node.alive():
                node.stop()

    def stop_writers(self):
        self.writers.over = True
        for t in self.writers.threads:
            t.join()

    def versions(self):
        return {n.status().get("clusterVersion") for n in self.cluster.alive()}

    def change(self, node, extra):
        """Stops it in order, and starts it with the other program."""
        node.stop()
        node.extra = extra
        node.start()
        wait_for(lambda: self.cluster.members().get(node.name, {}).get("connected"), 20, f"{node.name} is back")
        self.cluster.wait_ready()
        self.writers.more()

    def refused(self, node, extra, says):
        """A start that ends by itself."""
        node.extra = extra
        p = self.ws.spawn(f"older-{node.name}-{len(self.ws.processes)}", node.argv())
        self.assertEqual(p.popen.wait(60), 1)
        p.ends_alone = True
        self.assertIn(says, p.log().decode("utf-8", "replace"))

    def add_certificate(self, node):
        subprocess.run([os.path.join(self.cluster.bin_dir, "weftd"), "init", "--dir", self.ws.path("pki"), "--add",
                        node.name], timeout=60, check=True, capture_output=True)

    def weft(self, *args):
        got = self.cluster.weft(*args)
        self.assertEqual(got.returncode, 0, got)
        return got.stdout


class Upgrade(Programs):
    def test_one_after_another_and_back(self):
        c = self.cluster
        first, second, third = c.nodes
        self.writers.more()
        self.change(first, [])
        self.change(second, [])
        self.assertIn(f"Version:    {OLD}, {NEW} waits for {third.name} (reads to {OLD})",
                      self.weft("operator", "raft", "list"))
        self.change(second, HOLD)             # it may go back
        self.change(first, HOLD)
        self.assertEqual(self.versions(), {OLD})
        for node in c.nodes:
            self.change(node, [])
        self.assertIn(f"\nVersion:    {OLD}, ", self.weft("status"))
        wait_for(lambda: self.versions() == {NEW}, 60, "the version rises")
        self.writers.more()
        self.assertIn(f"\nVersion:    {NEW}\n", self.weft("operator", "raft", "list"))
        m = first.metrics()
        self.assertEqual((m["weft_cluster_version"], m["weft_program_version"]), (NEW, NEW))
        says = f"the cluster is of version {NEW}, this program reads {OLD} to {OLD}: a version never goes back"
        second.stop()
        self.refused(second, HOLD, says)
        self.writers.more()
        second.extra = []
        second.start()
        c.wait_ready()
        fourth = c.newcomer(4)
        c.nodes.remove(fourth)
        if self.tls:
            self.add_certificate(fourth)
        self.refused(fourth, HOLD, f"the cluster is of version {NEW}, n4 reads {OLD} to {OLD}")
        self.assertNotIn("n4", c.members())   # not added either
        acked = self.writers.finish()
        c.wait_same()
        for node in c.nodes:
            names = {o["metadata"]["name"] for o in node.list(PATH)}
            self.assertEqual(set(acked) - names, set(), node.name)
        note(f"{len(acked)} writes, the slowest took {self.writers.longest * 1000:.0f} ms")


class Standby(Programs):
    def test_a_standby_counts(self):
        """Who has no vote is sent the log all the same."""
        c = self.cluster
        fourth = c.newcomer(4, "--standby")
        fourth.extra = HOLD
        fourth.start()
        wait_for(lambda: "n4" in c.members(), 20, "it is added")
        for node in c.nodes[:3]:
            self.change(node, [])
        wait_for(lambda: all(m["connected"] for m in c.members().values()), 20, "all are connected")
        self.assertIn(f"{NEW} waits for n4 (reads to {OLD})", self.weft("status"))
        self.assertEqual(self.versions(), {OLD})
        self.change(fourth, [])
        wait_for(lambda: self.versions() == {NEW}, 60, "the version rises")
        self.writers.finish()


class UpgradeTls(Upgrade):
    tls = True


if __name__ == "__main__":
    main()
