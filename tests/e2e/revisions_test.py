#!/usr/bin/env python3
"""If this fails, somebody who asked for the newest state got an old one, a change that was sent again because
its answer was lost was made twice, a transaction was made in part, or nobody can say what was before."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..")]

from lib import web  # noqa: E402
from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402

ENTRIES = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"
TIMES = int(os.environ.get("WEFT_LEADER_KILLS", "5"))


def entry(name, weight, **meta):
    return {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default", **meta},
            "spec": {"address": "127.1.0.1", "weight": weight}}


def weights(r):
    return {o["metadata"]["name"]: o["spec"]["weight"] for o in r.json()["items"]}


class Reads(Case):
    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws).start()

    def test_linearizable(self):
        """What was acknowledged anywhere is read everywhere, at once."""
        nodes, behind = self.cluster.nodes, 0
        for i in range(1, 61):
            written = nodes[i % 3].api("POST", "/weft/v1/batch",
                                       {"items": [{"verb": "apply", "object": entry("reads", i)}]})
            self.assertEqual(written.status, 200, written)
            reader = nodes[(i + 1) % 3]
            local = reader.api("GET", f"{ENTRIES}/reads")
            behind += local.status == 404 or local.json()["spec"]["weight"] < i
            r = reader.api("GET", f"{ENTRIES}/reads?consistency=linearizable")
            self.assertEqual((r.status, r.json()["spec"]["weight"]), (200, i), r)
            self.assertGreaterEqual(int(r.header("weft-revision")), written.json()["revision"])
            # And a condition on what this node may not have heard of yet holds.
            last = nodes[(i + 2) % 3]
            r = last.api("PUT", f"{ENTRIES}/reads", entry("reads", i, labels={"i": str(i)},
                                                          resourceVersion=r.json()["metadata"]["resourceVersion"]))
            self.assertEqual(r.status, 200, r)
        note(f"{behind} of 60 local reads were of an older state")

    def test_leader_that_slept(self):
        """It wakes and still thinks that it leads: it must not answer with what it knows."""
        for i in range(1, 6):
            sleeper = self.cluster.leader()
            others = [n for n in self.cluster.nodes if n is not sleeper]
            sleeper.process.signal(signal.SIGSTOP)
            try:
                self.cluster_writes(others, i)
            finally:
                sleeper.process.signal(signal.SIGCONT)
            r = sleeper.api("GET", f"{ENTRIES}/slept?consistency=linearizable")
            if r.status == 200:
                self.assertEqual(r.json()["spec"]["weight"], i)
            else:
                self.assertIn(r.status, (503, 504), r)
            self.cluster.wait_ready()

    def cluster_writes(self, nodes, i):
        body = {"items": [{"verb": "apply", "object": entry("slept", i)}]}
        wait_for(lambda: nodes[0].api("POST", "/weft/v1/batch", body).status == 200, 20, "a write without it")


class Alone(Case):
    def test_without_a_majority(self):
        c = Cluster(ws=self.ws).start()
        c.batch([entry("a", 1)])
        c.wait_caught_up()
        left, *others = c.nodes
        wait_for(lambda: left.api("GET", f"{ENTRIES}?consistency=bounded&maxStalenessMs=1000").status == 200, 10,
                 "it knows that it is fresh")
        for node in others:
            node.kill()
        wait_for(lambda: left.api("GET", ENTRIES).header("weft-leader") == "none", 10, "it has no leader")
        r = left.api("GET", f"{ENTRIES}/a")
        self.assertEqual((r.status, r.json()["spec"]["weight"]), (200, 1))
        r = left.api("GET", f"{ENTRIES}/a?consistency=bounded&maxStalenessMs=600000")
        self.assertEqual((r.status, r.header("weft-leader")), (200, "none"))
        self.assertGreater(int(r.header("weft-staleness-ms")), 0)
        wait_for(lambda: "no leader" in (left.api("GET", ENTRIES).header("warning") or ""), 10, "it warns")
        for query in ("consistency=linearizable", "consistency=bounded&maxStalenessMs=1"):
            r = left.api("GET", f"{ENTRIES}/a?{query}")
            self.assertEqual(r.status, 503, r)
            self.assertIn("1 of 3 voters answer", r.json()["message"])
        # History and differences need no leader either.
        self.assertEqual(left.api("GET", "/weft/v1/history").status, 200)
        self.assertEqual(left.api("GET", "/weft/v1/diff?from=1").status, 200)


class Past(Case):
    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws).start()
        cls.addrs = ",".join(n.api_addr for n in cls.cluster.nodes)

    def weft(self, *args, code=0, text=None):
        p = subprocess.run([os.path.join(self.cluster.bin_dir, "weft"), *args, "--server", self.addrs], input=text,
                           capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(p.returncode, code, f"weft {' '.join(args)}: {p.stdout}{p.stderr}")
        return p.stdout

    def apply(self, *objects):
        out = self.weft("apply", "-f", "-", "-o", "json", text=json.dumps({"apiVersion": "v1", "kind": "List",
                                                                           "items": list(objects)}))
        return json.loads(out)["revision"]

    def now(self):
        self.cluster.wait_caught_up()
        return weights(self.cluster.nodes[0].api("GET", f"{ENTRIES}?consistency=linearizable"))

    def test_back_and_forth(self):
        first = self.apply(entry("a", 1), entry("b", 1), entry("c", 1))
        before = self.now()
        second = self.apply(entry("a", 2), entry("d", 2))
        self.weft("delete", "workloadentry", "b")
        after = self.now()
        self.cluster.wait_caught_up()
        # What was.
        self.assertEqual([w.split()[1] for w in self.weft("history", "workloadentry/a", "--no-headers").splitlines()],
                         ["created", "configured"])
        for node in self.cluster.nodes:
            r = node.api("GET", f"{ENTRIES}?resourceVersion={first}&resourceVersionMatch=Exact")
            self.assertEqual(weights(r), before)
        shown = json.loads(self.weft("get", "workloadentry", "a", f"@{first}", "-o", "json"))
        self.assertEqual(shown["spec"]["weight"], 1)
        # What is different.
        self.assertEqual(self.weft("diff", f"@{first}..@{first}"), "")
        different = self.weft("diff", f"@{first}", code=1)
        for line in ("-  weight: 1\n+  weight: 2\n", f"--- @{first}/workloadentries.networking.istio.io/default/b"):
            self.assertIn(line, different)
        self.assertIn("weight: 2", self.weft("diff", f"@{first}..@{second}", "workloadentry/a", code=1))
        # One, then all of it, then back again.
        self.assertIn("(server dry run)", self.weft("rollback", f"@{first}", "workloadentry/a", "--dry-run"))
        self.assertEqual(self.now(), after)
        self.weft("rollback", f"@{first}", "workloadentry/a")
        self.assertEqual(self.now(), {**after, "a": 1})
        self.weft("rollback", f"@{first}", code=1, text="n\n")
        self.assertEqual(self.now(), {**after, "a": 1})
        self.weft("rollback", f"@{first}", "--yes")
        self.assertEqual(self.now(), before)
        self.assertIn("nothing to roll back", self.weft("rollback", f"@{first}", "--yes"))
        self.weft("rollback", f"@{second}", "workloadentry", "d")
        self.assertEqual(self.now(), {**before, "d": 2})
        self.assertIn(f"rollback @{first}", self.weft("history", "workloadentry/a"))


class Transactions(Case):
    TOTAL = 100

    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws).start()

    def move(self, node, rng):
        """One unit from an account to another, if both still are as they were read."""
        accounts = {o["metadata"]["name"]: o for o in node.api("GET", ENTRIES).json()["items"]}
        giver, taker = rng.sample(sorted(accounts), 2)
        if accounts[giver]["spec"]["weight"] == 0:
            return None
        items = []
        for name, change in ((giver, -1), (taker, 1)):
            old = accounts[name]
            items.append({"verb": "update", "object": entry(name, old["spec"]["weight"] + change),
                          "precondition": {"resourceVersion": old["metadata"]["resourceVersion"]}})
        return node.api("POST", "/weft/v1/transaction", {"items": items}).status

    def test_all_or_nothing(self):
        """Concurrent transfers through all nodes, while somebody adds up: the sum never changes."""
        c = self.cluster
        c.batch([entry(f"account-{i}", self.TOTAL // 4) for i in range(4)])
        c.wait_caught_up()
        seen, stop = [], threading.Event()

        def transfer(k):
            rng = random.Random(k)
            while not stop.is_set():
                seen.append(self.move(c.nodes[k % 3], rng))

        threads = [threading.Thread(target=transfer, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        try:
            for i in range(60):
                query = "?consistency=linearizable" if i % 2 else ""
                accounts = weights(c.nodes[i % 3].api("GET", ENTRIES + query))
                self.assertEqual(sum(accounts.values()), self.TOTAL, accounts)
        finally:
            stop.set()
            for t in threads:
                t.join()
        done = seen.count(200)
        self.assertGreater(done, 20)
        self.assertEqual(set(seen) - {200, 409, None}, set())
        c.wait_same()
        self.assertEqual(sum(weights(c.nodes[0].api("GET", ENTRIES)).values()), self.TOTAL)
        note(f"{done} transfers, {seen.count(409)} refused because somebody was faster")

    def test_condition_on_another_object(self):
        c = self.cluster
        c.batch([entry("gate", 1)])
        ref = {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
               "metadata": {"name": "gate", "namespace": "default"}}
        for verb, need, status in (("create", {"absent": True}, 409), ("create", {"exists": True}, 200),
                                   ("delete", {"absent": True}, 409), ("delete", {"exists": True}, 200)):
            body = {"items": [{"verb": verb, "object": entry("through", 1)}],
                    "preconditions": [{"object": ref, **need}]}
            r = c.nodes[2].api("POST", "/weft/v1/transaction", body)
            self.assertEqual(r.status, status, r)
        c.api("DELETE", f"{ENTRIES}/gate")


class Once(Case):
    """Every request is sent until it is answered, always with its own key, while leaders die."""

    def send(self, i):
        """One object of a generated name: done twice, there would be two."""
        body = entry(None, 1, labels={"request": f"r{i}"})
        body["metadata"]["generateName"] = "once-"
        del body["metadata"]["name"]
        rng, deadline = random.Random(i), time.monotonic() + 60
        while time.monotonic() < deadline:
            node = rng.choice(self.cluster.nodes)
            try:
                r = node.api("POST", ENTRIES, body, headers={"Idempotency-Key": f"request {i}"}, timeout=3)
            except web.NO_ANSWER:
                time.sleep(0.02)
                continue
            self.tries += 1
            if r.status == 201:
                return self.told(r)
            assert r.status in (503, 504, 429), r
        raise AssertionError(f"request {i} was never answered")

    def told(self, r):
        o = r.json()
        return o["metadata"]["name"], o["metadata"]["uid"], int(r.header("weft-revision"))

    def again(self, i, node):
        body = entry(None, 1, labels={"request": f"r{i}"})
        body["metadata"]["generateName"] = "once-"
        del body["metadata"]["name"]
        return node.api("POST", ENTRIES, body, headers={"Idempotency-Key": f"request {i}"})

    def test_leader_dies(self):
        c = self.cluster = Cluster(ws=self.ws).start()
        self.tries, answers, stop = 0, {}, threading.Event()

        def client(k):
            for i in range(k, 100000, 4):
                if stop.is_set():
                    return
                answers[i] = self.send(i)

        threads = [threading.Thread(target=client, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for _ in range(TIMES):
            had = len(answers)
            wait_for(lambda n=had: len(answers) > n + 20, 30, "requests are answered")
            lead = c.leader()
            lead.kill()
            had = len(answers)
            wait_for(lambda n=had: len(answers) > n + 20, 30, "requests are answered without it")
            lead.start()
            c.wait_ready()
        stop.set()
        for t in threads:
            t.join()
        self.check(c, answers)
        for node in c.nodes:
            node.stop()
        for node in c.nodes:
            node.start()
        c.wait_ready()
        self.check(c, answers)
        r = c.nodes[0].api("POST", ENTRIES, entry("other", 1), headers={"Idempotency-Key": "request 0"})
        self.assertEqual(r.status, 422, r)
        self.assertIn("another request", r.json()["message"])
        note(f"{len(answers)} requests, {self.tries} answers, {TIMES} dead leaders: each was done once")

    def check(self, c, answers):
        """One object for each request, and every node repeats the first answer."""
        c.wait_same()
        made = {}
        for o in c.nodes[0].list(ENTRIES):
            made.setdefault(o["metadata"]["labels"]["request"], []).append(o["metadata"]["name"])
        self.assertEqual(made, {f"r{i}": [a[0]] for i, a in answers.items()})
        for i in random.Random(1).sample(sorted(answers), 30):
            for node in c.nodes:
                r = self.again(i, node)
                self.assertEqual((r.status, r.header("idempotent-replayed"), self.told(r)), (201, "true", answers[i]))


if __name__ == "__main__":
    main()
