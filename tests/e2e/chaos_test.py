#!/usr/bin/env python3
"""If this fails, the control plane is only safe against clean deaths: nodes that hang instead of dying,
orderly restarts one after the other, clients that change one object at the same time meanwhile, and files
that are damaged when a node comes back."""

import glob
import os
import shutil
import random
import signal
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "chaos")]

from leader_kill import Scene  # noqa: E402
from lib import web  # noqa: E402
from lib.bookinfo import client_proxy, virtual_service, weighted  # noqa: E402
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402

PATH = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"


class Restarts(Case):
    def test_one_after_the_other(self):
        """An upgrade: each node ends at SIGTERM and comes back. Nobody notices."""
        scene = Scene(self.ws, rate=300)
        c = scene.cluster
        received = scene.received()
        for node in c.nodes:
            node.stop()
            wait_for(scene.connected, 15, "every proxy has a control plane")
            node.start()
            wait_for(lambda n=node: n.status()["quorum"], 20, f"{node.name} is back")
            c.wait_caught_up()
        c.wait_proxies(len(scene.proxies) + len(scene.envoys))
        self.assertEqual(scene.received(), received)
        scene.times_ms.append(0)
        counts = scene.finish()
        self.assertEqual((counts["failed"], counts["lost"], counts["refused"]), (0, [], []), counts)
        note(f"{counts['requests']} requests, {counts['writes']} writes through a rolling restart")


class Hung(Case):
    def test_leader_hangs(self):
        """A leader that stops without dying: its connections stay open. Writes go on elsewhere, a change
        reaches the proxies that it held, each counts where it went to and not where it was, the node is said to
        be gone, and when it wakes it finds that it leads no more."""
        scene = Scene(self.ws, rate=300, envoy=False)
        c = scene.cluster
        lead = c.leader()
        others = [n for n in c.nodes if n is not lead]
        self.proxy_at(c, lead)
        hung = time.monotonic()
        lead.process.signal(signal.SIGSTOP)
        try:
            end = wait_for(lambda: scene.writer.first_acked_after(hung), 20, "a write is acknowledged",
                           every=0.001)
            note(f"{1000 * (end - hung):.0f} ms from the hang to the first acknowledged write")
            change = virtual_service("reviews", weighted("reviews", [("v2", 100)]))
            body = {"items": [{"verb": "apply", "object": change}]}
            revision = wait_for(lambda: others[0].api("POST", "/weft/v1/batch", body).json()["revision"],
                                10, "the change is taken")
            # Sooner than what the node said last is forgotten (CONVERGENCE_FORGET_MS): it counts nobody twice.
            r = wait_for(lambda: self.everywhere(others[0], revision), 25, "all proxies have the change")
            note(f"{time.monotonic() - hung:.1f} s until all proxies had a change: {r['live']} of {r['total']}")
            for node in others:
                wait_for(lambda n=node: self.not_connected(n) == [lead.name], 20, f"{lead.name} is taken for silent")
                self.agree(node, lead, revision)
        finally:
            lead.process.signal(signal.SIGCONT)
        c.wait_ready()
        c.wait_caught_up()
        self.assertNotEqual(c.leader(), lead)
        scene.times_ms.append(0)
        counts = scene.finish()
        self.assertEqual((counts["failed"], counts["lost"], counts["refused"]), (0, [], []), counts)

    def proxy_at(self, cluster, node):
        """A fourth proxy, and it hangs on the node: where one goes first is a matter of luck."""
        proxy = client_proxy(cluster, 53, "moves")

        def look():
            at = {p["name"]: p["node"] for p in proxy.restart().wait_ready().cluster.proxies()}
            return at.get("moves.default") == node.name
        wait_for(look, 30, f"a proxy is connected to {node.name}")
        cluster.wait_proxies(4)

    def not_connected(self, node):
        return [m["name"] for m in node.status()["members"] if not m["connected"]]

    def agree(self, node, silent, revision):
        """What a node says of the mesh in wait, status and proxy-status is one story."""
        r = node.api("GET", f"/weft/v1/wait?revision={revision}&timeout=5s", timeout=10)
        answer = r.json()
        self.assertEqual((r.status, answer["live"], answer["total"], answer["unknown"], answer["silent"]),
                         (200, 4, 4, 0, [silent.name]), answer)
        status = node.status()
        self.assertEqual((status["proxies"]["total"], status["proxies"]["unknown"]), (4, 0), status["proxies"])
        shown = node.api("GET", "/weft/v1/proxies", timeout=5).json()
        self.assertEqual((len(shown["items"]), shown["silent"]), (4, [silent.name]), shown)
        said = subprocess.run([os.path.join(node.cluster.bin_dir, "weft"), "status", "--server", node.api_addr],
                              capture_output=True, text=True, timeout=20, check=False).stdout
        self.assertIn(f"Member {silent.name} ({silent.peer_addr}) is not connected: last heard ", said)

    def everywhere(self, node, revision):
        r = node.api("GET", f"/weft/v1/wait?revision={revision}&timeout=1s", timeout=5).json()
        return r if r["live"] == r["total"] == 4 else None


class Counter(threading.Thread):
    """Adds one to a counter in an object, by reading it anywhere and writing it anywhere."""

    def __init__(self, cluster, seed, ending):
        super().__init__(daemon=True)
        self.cluster, self.random, self.ending = cluster, random.Random(seed), ending
        self.done = self.unknown = self.conflicts = 0
        self.problems = []

    def run(self):
        while not self.ending.is_set():
            try:
                self._add()
            except web.NO_ANSWER:
                self.ending.wait(0.005)

    def _node(self):
        return self.random.choice(self.cluster.nodes)

    def _add(self):
        o = self._node().api("GET", f"{PATH}/counter", timeout=3).json()
        if "spec" not in o:
            return
        o["spec"]["labels"]["n"] = str(int(o["spec"]["labels"]["n"]) + 1)
        try:
            r = self._node().api("PUT", f"{PATH}/counter", o, timeout=3)
        except ConnectionRefusedError:
            return  # never handed over
        except web.NO_ANSWER:
            self.unknown += 1
            return
        if r.status == 200:
            self.done += 1
        elif r.status == 409:
            self.conflicts += 1
        elif r.status == 504:
            self.unknown += 1
        elif r.status != 503:
            self.problems.append(repr(r))


class Increments(Case):
    def test_no_update_is_lost(self):
        """Six clients add to one counter through all nodes while leaders die: what it counts is what was
        promised, and nothing twice."""
        c = Cluster(n=3, ws=self.ws).start()
        c.batch([{"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
                  "metadata": {"name": "counter", "namespace": "default"},
                  "spec": {"address": "192.0.2.1", "labels": {"n": "0"}}}])
        c.wait_caught_up()
        ending = threading.Event()
        clients = [Counter(c, i, ending) for i in range(6)]
        for t in clients:
            t.start()
        for i in range(4):
            base = sum(t.done for t in clients)
            wait_for(lambda b=base: sum(t.done for t in clients) > b + 30, 30, "increments go on")
            lead = c.leader()
            lead.kill()
            base = sum(t.done for t in clients)
            wait_for(lambda b=base: sum(t.done for t in clients) > b + 10, 30, "increments go on")
            lead.start()
            wait_for(lambda n=lead: n.status()["quorum"], 20, f"{lead.name} is back")
        ending.set()
        for t in clients:
            t.join(10)
        c.wait_same()
        done, unknown = sum(t.done for t in clients), sum(t.unknown for t in clients)
        seen = {int(n.api("GET", f"{PATH}/counter").json()["spec"]["labels"]["n"]) for n in c.nodes}
        note(f"{done} acknowledged, {unknown} unknown, counter {seen}, "
             f"{sum(t.conflicts for t in clients)} conflicts")
        self.assertEqual([p for t in clients for p in t.problems], [])
        self.assertEqual(len(seen), 1)
        self.assertGreaterEqual(seen.copy().pop(), done)
        self.assertLessEqual(seen.pop(), done + unknown)


LOG_HEAD, RECORD_HEAD, RECORD_MAGIC = 64, 48, b"WRC1"  # registry/raft/log_record.h
PAGE = 4096


def first_log(node):
    return min(glob.glob(os.path.join(node.data, "log", "*.log")))


def records(path):
    """Where each record of a segment of the log begins, and where the last one ends."""
    with open(path, "rb") as f:
        segment = f.read()
    at = [LOG_HEAD]
    while segment.startswith(RECORD_MAGIC, at[-1]):
        size, = struct.unpack_from("<I", segment, at[-1] + 8)
        at.append(at[-1] + RECORD_HEAD + (size + 7) // 8 * 8)
    return at


def overwrite(path, at, size=8):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(b"damaged!" * (size // 8))


def used_pages(path):
    """Of data.mdb, which is made longer ahead of its use: up to the last that holds something."""
    with open(path, "rb") as f:
        return -(-len(f.read().rstrip(b"\0")) // PAGE)


def store_overwritten(node):
    """The used pages between a quarter and three quarters; the file keeps its size."""
    path = os.path.join(node.data, "store", "data.mdb")
    pages = used_pages(path)
    overwrite(path, pages // 4 * PAGE, pages // 2 * PAGE)


def store_cut(node):
    path = os.path.join(node.data, "store", "data.mdb")
    os.truncate(path, used_pages(path) // 2 * PAGE)


def meta_overwritten(node):
    overwrite(os.path.join(node.data, "meta"), 4)


def log_head_overwritten(node):
    overwrite(first_log(node), 4)


def log_middle_overwritten(node):
    at = records(first_log(node))
    overwrite(first_log(node), at[len(at) // 2] + 16)


def log_end_overwritten(node):
    """As a write that was cut off looks; but this one was synced, and what it holds was applied."""
    overwrite(first_log(node), records(first_log(node))[-2] + 16)


def log_cut(node):
    at = records(first_log(node))
    os.truncate(first_log(node), at[len(at) // 2])


# The part, who damages it, and what the node then says: it is rebuilt, or why it is put aside.
REBUILT = "registry.store.rebuild"
QUARANTINES_MAX = 3
DAMAGES = (
    ("store/data.mdb overwritten", store_overwritten, REBUILT),
    ("store/data.mdb cut to half of its pages", store_cut, REBUILT),
    ("meta overwritten", meta_overwritten, "term and vote are damaged"),
    ("head of the log overwritten", log_head_overwritten, "byte 0 is damaged and byte"),
    ("middle of the log overwritten", log_middle_overwritten, "was written after it"),
    ("last record of the log overwritten", log_end_overwritten, "acknowledged entries are lost"),
    ("log cut to half of its records", log_cut, "acknowledged entries are lost"),
)


class Damaged(Case):
    def test_it_mends_itself(self):
        """What a node kept is damaged: it makes it anew from the rest or from its peers, by itself, and votes again, so
        that the leader can die. A disk that does it again and again is refused."""
        c = Cluster(n=3, ws=self.ws).start()
        node = c.follower()
        written, put_aside = 0, 0
        for part, damage, says in DAMAGES:
            with self.subTest(part):
                for _ in range(20):  # an entry each, behind what a mended node caught up with
                    c.batch([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{written}"}}])
                    written += 1
                c.wait_same()
                node.stop()
                damage(node)
                if put_aside == QUARANTINES_MAX:
                    self.refused(node)
                    for name in os.listdir(node.data):
                        if name.startswith("quarantine-"):
                            shutil.rmtree(os.path.join(node.data, name))
                    put_aside = 0
                before = len(node.process.log())
                node.start()
                events = [says] if says == REBUILT else [says, "registry.quarantine", "registry.joined"]
                put_aside += says != REBUILT
                for event in events:
                    wait_for(lambda b=before, e=event: e.encode() in node.process.log()[b:], 20, event)
                wait_for(lambda: node.status()["quorum"], 20, f"{node.name} is back")
                c.wait_same()
                self.assertEqual(len(node.list("/api/v1/namespaces")), written + 2)
        # Of the two that are left both must vote, or nothing is written.
        lead = c.leader()
        (lead if lead is not node else next(n for n in c.nodes if n is not node)).kill()
        c.batch([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "with-its-vote"}}])
        c.wait_same()
        self.assertEqual(len(node.list("/api/v1/namespaces")), written + 3)

    def refused(self, node):
        """Each time: to start it once more mends nothing."""
        for _ in range(2):
            r = subprocess.run(node.argv(), capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual(r.returncode, 1, r.stderr)
            self.assertIn("this disk damaged what it held 3 times", r.stderr)


if __name__ == "__main__":
    main()
