#!/usr/bin/env python3
"""If this fails, a backup is not one: it cannot be restored, is not what was there, or a restored cluster
tells those who knew the old one that time went back."""

import json
import os
import re
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..")]

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, Workspace, wait_for  # noqa: E402

ENTRIES = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"


def entry(name, weight):
    return {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"address": "127.1.0.1", "weight": weight}}


def weights(node):
    return {o["metadata"]["name"]: o["spec"]["weight"] for o in node.list(ENTRIES)}


def run(cluster, program, *args, code=0):
    p = subprocess.run([os.path.join(cluster.bin_dir, program), *args], capture_output=True, text=True, timeout=60,
                       check=False)
    assert p.returncode == code, f"{program} {' '.join(args)}: {p.returncode} {p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def restore(cluster, file, *more, code=0):
    """On every node of a cluster that is not started yet, with the node's own flags."""
    os.makedirs(os.path.dirname(cluster.nodes[0].data), exist_ok=True)
    return [run(cluster, "weftd", "restore", "--from", file, *more, *n.argv()[1:], code=code)
            for n in cluster.nodes]


class Writer:
    """One change after the other, until it is stopped; what was acknowledged is known."""

    def __init__(self, cluster):
        self.cluster, self.acknowledged, self.stopped = cluster, 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        i = 0
        while not self.stopped:
            i += 1
            self.cluster.batch([entry("counter", i), entry(f"e{i % 50}", i)])
            self.acknowledged = i

    def stop(self):
        self.stopped = True
        self.thread.join()


class Backup(Case):
    def cluster(self, n=3):
        """With directories of its own."""
        ws = Workspace("backup")
        self.addCleanup(ws.close)
        return Cluster(ws=ws, n=n)

    def old_and_new(self, n=3):
        return self.cluster().start(), self.cluster(n)

    def test_save_under_load_restore_on_three(self):
        old, new = self.old_and_new()
        writer = Writer(old)
        try:
            wait_for(lambda: writer.acknowledged > 100, 20, "load")
            before = writer.acknowledged
            follower = old.follower()
            file = self.ws.path("weft.snap")
            out = run(old, "weft", "snapshot", "save", file, "--server", follower.api_addr)
            self.assertIn(f"from {follower.name}", out)
            wait_for(lambda: writer.acknowledged > before + 100, 20, "more load")
        finally:
            writer.stop()
        head = json.loads(run(old, "weft", "snapshot", "inspect", file, "-o", "json"))
        self.assertEqual(head["node"], follower.name)
        self.assertIn("workloadentries.networking.istio.io", run(old, "weft", "snapshot", "inspect", file))
        r = old.api("GET", f"{ENTRIES}?resourceVersion={head['revision']}&resourceVersionMatch=Exact&limit=1000")
        then = {o["metadata"]["name"]: o["spec"]["weight"] for o in r.json()["items"]}
        self.assertEqual(head["kinds"]["workloadentries.networking.istio.io"]["objects"], len(then))
        self.assertLess(then["counter"], writer.acknowledged, "it was taken in the middle")
        last = old.revision()

        for out in restore(new, file):
            self.assertIn("goes on at @", out)
        new.start()
        for node in new.nodes:
            self.assertEqual(weights(node), then)
        self.assertEqual({n.status()["stateHash"] for n in new.nodes}, {head["stateHash"]})
        start = new.revision()
        self.assertGreater(start, last)
        for node in new.nodes:
            log = node.process.log()
            self.assertNotIn(b"checkpoint.fetching", log, "a member had to fetch what it restored")
        self.time_does_not_go_back(new, head["revision"], last, start)
        note(f"@{head['revision']} of @{last} goes on at @{start}")

    def time_does_not_go_back(self, new, *old_revisions):
        """Whoever knew the old cluster lists again, and then sees only what is higher."""
        start = old_revisions[-1]
        for rv in old_revisions[:-1]:
            for node in new.nodes:
                r = node.api("GET", f"{ENTRIES}?watch=1&resourceVersion={rv}&timeoutSeconds=2")
                gone = r.status == 410 or r.json()["object"]["code"] == 410
                self.assertTrue(gone, f"a watch from @{rv}: {r}")
        r = new.nodes[0].api("GET", ENTRIES)
        self.assertGreaterEqual(int(r.json()["metadata"]["resourceVersion"]), start)
        written = new.batch([entry("counter", -1 % 1000)])
        self.assertGreater(written, start)
        for node in new.nodes:
            wait_for(lambda n=node: n.status()["revision"] >= written, 10, "it is everywhere")
            r = node.api("GET", f"{ENTRIES}?watch=1&resourceVersion={start}&timeoutSeconds=1")
            self.assertEqual(r.status, 200, r.text())
            seen = [int(json.loads(line)["object"]["metadata"]["resourceVersion"])
                    for line in r.text().splitlines()]
            self.assertTrue(seen and min(seen) > start, seen)

    def test_without_a_leader(self):
        """What one node has can be saved when the others are gone, and begins a cluster of one."""
        old, new = self.old_and_new(n=1)
        old.batch([entry("a", 1)])
        old.wait_caught_up()
        left, *others = old.nodes
        for node in others:
            node.kill()
        wait_for(lambda: not left.status()["quorum"], 10, "it has no quorum")
        file = self.ws.path("alone.snap")
        run(old, "weft", "snapshot", "save", file, "--server", left.api_addr)
        restore(new, file)
        new.start()
        self.assertEqual(weights(new.nodes[0]), {"a": 1})

    def test_nodes_of_the_old_cluster_are_refused(self):
        """Two of three are restored at the same addresses; the third still has the old data."""
        c = self.cluster().start()
        c.batch([entry("a", 1)])
        file = self.ws.path("same.snap")
        run(c, "weft", "snapshot", "save", file, "--server", c.nodes[0].api_addr)
        c.batch([entry("a", 2)])
        c.wait_caught_up()
        for node in c.nodes:
            node.stop()
        for node in c.nodes[:2]:
            os.rename(node.data, node.data + ".old")
            run(c, "weftd", "restore", "--from", file, *node.argv()[1:])
        for node in c.nodes:
            node.start()
        wait_for(lambda: any(n.status()["node"]["role"] == "leader" for n in c.nodes[:2]), 20, "two are a cluster")
        leader = next(n for n in c.nodes[:2] if n.status()["node"]["role"] == "leader")
        for i in range(3, 8):
            wait_for(lambda w=i: leader.api("POST", "/weft/v1/batch", {"items": [
                {"verb": "apply", "object": entry("a", w)}]}).status == 200, 10, "a write")
        time.sleep(1)
        old = c.nodes[2]
        self.assertEqual(weights(old), {"a": 2}, "it kept what it had")
        self.assertFalse(old.status()["quorum"])
        self.assertEqual(weights(leader), {"a": 7})
        wait_for(lambda: b"history" in old.process.log() or b"genesis" in old.process.log(), 10, "it is told why")

    def test_the_last_node_is_recovered(self):
        """Two of three are lost for good. The one that is left has all that was acknowledged, also what
        it never heard to be committed."""
        c = self.cluster().start()
        writer = Writer(c)
        wait_for(lambda: writer.acknowledged > 100, 20, "load")
        left = c.follower()
        others = [n for n in c.nodes if n is not left]
        followers = [n for n in others if n is not c.leader()]
        followers[0].kill()  # from now on whatever is acknowledged is on the two that are left
        wait_for(lambda before=writer.acknowledged: writer.acknowledged > before + 50, 20, "more load")
        for node in (*others, left):
            node.kill()
        writer.stopped = True
        flags = left.argv()[1:]
        out = run(c, "weftd", "recover", *flags)
        self.assertIn("nothing was done", out)
        self.assertNotIn("before-recovery-1", os.listdir(left.data))
        out = run(c, "weftd", "recover", "--yes", *flags)
        self.assertIn("goes on at @", out)
        file = re.search(r"saved (\S+);", out).group(1)

        # One more gets the file, and the third comes with an empty disk.
        for node in others:
            os.rename(node.data, node.data + ".lost")
        run(c, "weftd", "restore", "--from", file, *others[0].argv()[1:])
        for node in c.nodes:
            node.start()
        writer.thread.join()
        c.wait_same()
        for node in c.nodes:
            self.assertGreaterEqual(weights(node)["counter"], writer.acknowledged)
        self.assertGreater(c.batch([entry("counter", 0)]), 10**11)

    def test_recovered_alone(self):
        """And goes on as a cluster of one, when there is nothing else."""
        c = self.cluster().start()
        c.batch([entry("a", 1)])
        c.wait_caught_up()
        for node in c.nodes:
            node.kill()
        left = c.nodes[1]
        alone = ["--name", "n2", "--init", "--peer", left.peer_addr, *left.argv()[5:]]
        run(c, "weftd", "recover", "--yes", *alone)
        c.ws.spawn("alone", [os.path.join(c.bin_dir, "weftd"), *alone])
        wait_for(lambda: left.status()["quorum"], 20, "it leads itself")
        self.assertEqual(weights(left), {"a": 1})
        self.assertEqual(left.api("POST", "/weft/v1/batch", {"items": [
            {"verb": "apply", "object": entry("a", 2)}]}).status, 200)

    def test_damage(self):
        c = self.cluster(1).start()
        c.batch([entry("a", 1)])
        file = self.ws.path("damaged.snap")
        run(c, "weft", "snapshot", "save", file, "--server", c.nodes[0].api_addr)
        with open(file, "rb") as f:
            good = f.read()
        other = self.cluster(1)
        for name, bytes_ in {"head": good[:30] + b"\xff" + good[31:], "image": good[:-9000] + b"x" + good[-8999:],
                             "cut off": good[:-1], "longer": good + b"x", "short": good[:7], "empty": b"",
                             "no snapshot": b"kind: Service\n" * 10000}.items():
            with open(file, "wb") as f:
                f.write(bytes_)
            out = run(c, "weft", "snapshot", "inspect", file, code=65)
            self.assertRegex(out, "damaged|no snapshot|cut off", name)
            out = restore(other, file, code=1)[0]
            self.assertRegex(out, "damaged|no snapshot|cut off", name)
            left = [n for n in os.listdir(other.nodes[0].data) if n != "lock"]
            self.assertEqual(left, [], name)
        # What is there is not written over.
        with open(file, "wb") as f:
            f.write(good)
        c.nodes[0].stop()
        self.assertIn("holds data of a node", restore(c, file, code=1)[0])
        restore(other, file)

    def test_no_half_file(self):
        c = self.cluster(1).start()
        c.batch([entry("a", 1)])
        target = self.ws.path("nowhere", "weft.snap")
        run(c, "weft", "snapshot", "save", target, "--server", c.nodes[0].api_addr, code=1)
        os.makedirs(self.ws.path("there"))
        c.nodes[0].kill()
        run(c, "weft", "snapshot", "save", self.ws.path("there", "weft.snap"), "--server", c.nodes[0].api_addr,
            code=69)
        self.assertEqual(os.listdir(self.ws.path("there")), [])


if __name__ == "__main__":
    main()
