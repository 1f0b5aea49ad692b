#!/usr/bin/env python3
"""If this fails, nodes cannot be added, replaced and removed while clients write: a write that was
acknowledged is gone, a node comes back as two, or one that was removed still has a say.

    tests/e2e/members_test.py --cycles 50      the long run; WEFT_MEMBER_CYCLES says the same

Without TLS nodes ask an API; with TLS they have a join token."""

import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.bookinfo import service  # noqa: E402
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402
from lib.frames import BULK, CONTROL, FRAME_HELLO, FRAME_REFUSE, hello  # noqa: E402
from lib.member import dial, greeting, names, until_cut  # noqa: E402
from lib.writers import PATH, Writers  # noqa: E402

CYCLES = int(os.environ.get("WEFT_MEMBER_CYCLES", "3"))
CUT_S = 1.0


class Members(Case):
    tls = False

    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws, tls=cls.tls, signs=cls.tls).start()

    def setUp(self):
        self.writers = Writers(self.cluster)
        self.addCleanup(self.stop_writers)

    def stop_writers(self):
        self.writers.over = True
        for t in self.writers.threads:
            t.join()

    def new_node(self, *flags):
        """With TLS it has nothing but a token."""
        i = type(self).next = getattr(type(self), "next", 3) + 1
        token = self.cluster.token() if self.tls else None
        return self.cluster.newcomer(i, *flags, token=token)

    def weftd(self, *args):
        got = subprocess.run([os.path.join(self.cluster.bin_dir, "weftd"), *args], timeout=60, check=False,
                             capture_output=True, text=True)
        self.assertEqual(got.returncode, 0, got)
        return got.stdout

    def join(self):
        node = self.new_node().start()
        self.cluster.wait_role(node, "voter")
        self.writers.more()
        return node

    def weft(self, *args):
        got = self.cluster.weft("operator", "raft", *args)
        self.assertEqual(got.returncode, 0, got)
        return got.stdout

    def logged(self, node, *parts):
        def look():
            return any(all(p in line for p in parts)
                       for line in node.process.log().decode("utf-8", "replace").splitlines())
        wait_for(look, 15, f"the log of {node.name} has {parts}")

    def remove(self, node):
        """It is out, it says so, and nobody of the others speaks to it any more."""
        self.ids = {m["name"]: m["id"] for m in self.cluster.members().values()}
        self.assertIn(f"{node.name} removed", self.weft("remove", node.name))
        since = time.monotonic()
        if node.alive():
            self.logged(node, f"node {self.ids[node.name]} is no member")
            wait_for(lambda: not node.status()["quorum"], 5, f"{node.name} is cut off")
            wait_for(lambda: all(not m["connected"] or m["self"] for m in node.api(
                "GET", "/weft/v1/members").json()["items"]), 5, f"{node.name} has no connection")
            took = time.monotonic() - since
            note(f"{node.name} is cut off {took * 1000:.0f} ms after its removal")
            self.assertLess(took, CUT_S * (5 if self.cluster.sanitized() else 1))
            r = node.api("POST", PATH, service("of-" + node.name), timeout=10)
            self.assertGreaterEqual(r.status, 500, r)
        self.assertNotIn(node.name, self.cluster.members())

    def check(self):
        """All that was acknowledged is there, on every node, and nothing of those who were out."""
        acked = self.writers.finish()
        self.cluster.wait_same()
        for node in self.cluster.alive():
            names = {o["metadata"]["name"] for o in node.list(PATH)}
            self.assertEqual(set(acked) - names, set(), node.name)
            self.assertFalse([n for n in names if n.startswith("of-")], node.name)
        note(f"{len(acked)} writes, the slowest took {self.writers.longest * 1000:.0f} ms")
        self.cluster.api("DELETE", PATH, timeout=30)

    def test_grow_shrink_and_hand_over(self):
        c = self.cluster
        self.writers.more()
        fourth, fifth = self.join(), self.join()
        self.assertEqual(len(c.members()), 5)
        to = next(n for n in c.nodes if n is not c.leader())
        self.weft("lead", to.name)
        wait_for(lambda: c.leader() is to, 10, f"{to.name} leads")
        self.writers.more()
        self.remove(to)                       # the leader
        c.forget(to)
        self.writers.more()
        gone = c.follower()
        self.remove(gone)
        c.forget(gone)
        self.writers.more()
        self.weft("transfer-leader")
        self.writers.more()
        self.assertLessEqual({fourth.name, fifth.name} & {n.name for n in c.nodes}, set(c.members()))
        self.check()

    def replace(self, dead):
        """Its disk is gone."""
        dead.kill()
        shutil.rmtree(dead.data)
        self.writers.more()
        self.remove(dead)
        self.cluster.forget(dead)
        return self.join()

    def test_a_lost_disk_is_replaced(self):
        self.replace(self.cluster.follower())
        self.check()

    def test_cycles(self):
        """A node joins, one whose disk is lost is replaced, the oldest is removed, the newest restarted."""
        c = self.cluster
        for _ in range(CYCLES):
            self.join()
            node = self.replace(c.follower())
            out = c.nodes[0]
            self.remove(out)
            c.forget(out)
            self.writers.more()
            node.restart()                   # as the member that it became
            c.wait_ready()
            self.writers.more()
        note(f"{CYCLES} times: joined, replaced, removed")
        self.check()

    def test_a_standby_stays_one(self):
        c, node = self.cluster, self.new_node("--standby").start()
        wait_for(lambda: node.name in c.members(), 20, "it is added")
        self.writers.more()
        c.wait_role(node, "standby")
        wait_for(lambda: node.status()["revision"] > 0, 20, "it is sent everything")
        node.restart()
        self.writers.more()
        self.assertEqual(c.members()[node.name]["role"], "standby")
        self.weft("promote", node.name)
        self.assertEqual(c.members()[node.name]["role"], "voter")
        self.remove(node)
        c.forget(node)
        self.check()

    def test_a_removal_waits_for_who_is_behind(self):
        """Who is connected and has not heard of the last change yet is not away."""
        c, lead = self.cluster, self.cluster.leader()
        behind = next(n for n in c.nodes if n is not lead)
        try:
            os.kill(behind.pid, signal.SIGSTOP)
            self.assertEqual(lead.api("POST", "/weft/v1/members", {
                "name": "never", "address": c.host(200) + ":7444"}).status, 201)
            r = lead.api("DELETE", "/weft/v1/members/never?timeout=100ms")
            self.assertEqual(r.status, 504, r)
            self.assertIn(f"member {behind.name} has not heard of all members yet", r.text())
        finally:
            os.kill(behind.pid, signal.SIGCONT)
        self.assertIn("never removed", self.weft("remove", "never"))
        self.check()

    def test_dying_while_it_joins(self):
        """At whatever moment it dies, it comes back as the member that it was to become."""
        c, node = self.cluster, self.new_node()
        for ms in (0, 5, 15, 40, 80, 150, 300, 600):
            node.start()
            time.sleep(ms / 1000)
            node.kill()
        node.start()
        c.wait_role(node, "voter")
        wait_for(lambda: c.members()[node.name]["connected"] and node.status()["quorum"], 10, "it is there")
        mine = [m for m in c.members().values() if m["address"] == node.peer_addr]
        self.assertEqual(len(mine), 1, mine)
        self.remove(node)
        c.forget(node)
        self.check()

    def test_a_name_that_is_taken(self):
        c, node = self.cluster, self.new_node()
        other = c.nodes[0]
        self.assertIsNot(other, node)
        node.name = other.name
        node.data = self.ws.path("data", "imposter")
        c.nodes.remove(node)
        p = self.ws.spawn("imposter", node.argv())
        self.assertEqual(p.popen.wait(30), 1)
        self.assertIn(b"another member has this name or address: remove it first", p.log())
        p.ends_alone = True
        self.check()

    def test_added_by_an_operator(self):
        """Nobody is asked: on the node's machine there may be no API."""
        c, node = self.cluster, self.new_node()
        told = self.ws.path("told.json")
        args = ["add", f"{node.name}={node.peer_addr}", "-o", "json"]
        if self.tls:
            node.certs = self.ws.path("pki", node.name)
            self.weftd("init", "--dir", self.ws.path("pki"), "--add", node.name)
            with open(os.path.join(node.certs, "node.crt"), encoding="ascii") as f:
                text = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], stdin=f, text=True,
                                      check=True, capture_output=True).stdout
            args += ["--id", text.strip().rsplit("/", 1)[1]]
        with open(told, "w", encoding="utf-8") as f:
            f.write(self.weft(*args))
        node.joins = ["--join-file", told]
        node.start()
        c.wait_role(node, "voter")
        os.unlink(told)
        node.restart()
        c.wait_ready()
        self.writers.more()
        self.remove(node)
        c.forget(node)
        self.check()

    def test_without_its_log_it_does_not_come_back(self):
        c, node = self.cluster, self.join()
        node.stop()
        for name in os.listdir(node.data):
            if name != "member":
                path = os.path.join(node.data, name)
                (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        p = self.ws.spawn("without-log", node.argv())
        self.assertEqual(p.popen.wait(30), 1)
        self.assertIn(b"it must not come back without", p.log())
        p.ends_alone = True
        self.remove(node)
        c.forget(node)
        self.check()


class MembersTls(Members):
    tls = True
    test_a_name_that_is_taken = test_without_its_log_it_does_not_come_back = test_a_standby_stays_one = None

    def dial(self, to, certs, role=None):
        """A connection with somebody's certificate; with a role it has greeted, too."""
        s = dial(to, self.ws.path("pki", "ca.crt"), certs)
        self.addCleanup(s.close)
        if role:
            cluster, to_id = names(s.getpeercert())
            s.sendall(hello(cluster, self.holder, to_id, role))
        return s

    def refused(self, to, certs):
        try:
            return greeting(self.dial(to, certs, CONTROL)) in (None, FRAME_REFUSE)
        except TimeoutError:
            return False
        except OSError:
            return True

    def test_a_certificate_ends_with_its_member(self):
        """Whoever has a copy of it: what is open is cut, and nothing is opened with it any more."""
        c, node = self.cluster, self.join()
        self.ids = {m["name"]: m["id"] for m in c.members().values()}
        self.holder, certs = self.ids[node.name], node.certs or os.path.join(node.data, "tls")
        node.kill()
        held = {}
        for to in c.alive():
            for role, what in ((CONTROL, "its connection"), (BULK, "its connection for checkpoints")):
                held[f"{what} to {to.name}"] = s = self.dial(to, certs, role)
                self.assertEqual(greeting(s), FRAME_HELLO, to.name)
        for what, s in held.items():
            s.settimeout(0.02)
            with self.assertRaises(TimeoutError, msg=what):
                until_cut(s)
        for to in c.alive():  # these have a time of their own, 2 s: last, so that it is not that
            held[f"what has not greeted {to.name}"] = self.dial(to, certs)
        self.remove(node)
        since, within = time.monotonic(), CUT_S * (5 if c.sanitized() else 1)
        for what, s in held.items():
            s.settimeout(max(0.001, since + within - time.monotonic()))
            try:
                until_cut(s)
            except TimeoutError:
                self.fail(f"{what} goes on {within} s after the removal")
        took = time.monotonic() - since
        for to in (n for n in c.alive() if n is not node):
            self.assertTrue(self.refused(to, certs), to.name)
        self.assertLess(time.monotonic() - since, within)
        note(f"{len(held)} connections were cut {took * 1000:.0f} ms after the removal")
        c.forget(node)
        self.check()


if __name__ == "__main__":
    if "--cycles" in sys.argv:
        at = sys.argv.index("--cycles")
        CYCLES = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    main()
