#!/usr/bin/env python3
"""Bit rot: single bits of a node's files are flipped, one at a time, while the other two nodes are good.

    bitrot.py [--flips N] [--real N] [--seed S] [--jobs N]

Most flips are made in simulated clusters (weft-sim --flips: registry/sim/flips.c), at rest and under nodes that run.
The rest are made in real processes, above all in data.mdb, which would kill a process that maps it: a bit is flipped,
the node is killed (data.mdb: before) and started until it serves; what it answers meanwhile is compared with what
was acknowledged. The table says what came of each flip; the zeros below it are what must be zero. Status 0: they are.
"""

import argparse
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..")]

from lib import web  # noqa: E402
from lib.cluster import Cluster, Workspace, default_bin_dir, wait_for  # noqa: E402
from lib.process import Timeout  # noqa: E402

KINDS = ("log", "metadata", "snapshot", "lmdb")
ENDS = ("unnoticed", "corrected", "rebuilt", "refused")
FLIPS_A_SEED = 50
STARTS_MAX = 3
PATTERNS = {"log": ("log/*.log",), "metadata": ("meta", "snapshot*", "log/end", "store/mark"),
            "snapshot": ("ckpt-*.mdb",), "lmdb": ("store/data.mdb",)}
SHARES = {"lmdb": 70, "log": 10, "metadata": 10, "snapshot": 10}
MENDED = (b"registry.store.rebuild", b"registry.log.torn_tail", b"registry.checkpoint.damaged",
          b"registry.checkpoint.older")
PATH = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"
OBJECTS, PER_WRITE, FILL = 300, 20, "x" * 800


class Tally:
    def __init__(self):
        self.ends = {k: dict.fromkeys(ENDS, 0) for k in KINDS}
        self.wrong, self.lost, self.loops = [], [], []
        self.starts_max = self.answers = self.writes = 0

    def flips(self):
        return sum(sum(e.values()) for e in self.ends.values())

    def table(self):
        lines = ["| Flipped in | Flips | Unnoticed: unused, or written anew | Corrected from its own | Rebuilt from the others "
                 "| Ended with an error, then one of these |", "|---|---|---|---|---|---|"]
        for kind in KINDS:
            e = self.ends[kind]
            lines.append(f"| {kind} | {sum(e.values())} | " + " | ".join(str(e[n]) for n in ENDS) + " |")
        total = [sum(self.ends[k][n] for k in KINDS) for n in ENDS]
        lines.append(f"| all | {sum(total)} | " + " | ".join(map(str, total)) + " |")
        return "\n".join(lines)


# -- in virtual time --

def simulate(flips, seed, jobs, bin_dir, tally):
    seeds = -(-flips // FLIPS_A_SEED)
    argv = [os.path.join(bin_dir, "weft-sim"), "--seed", str(seed), "--seeds", str(seeds), "--jobs", str(jobs),
            "--flips", str(min(flips, FLIPS_A_SEED))]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    for kind, end, n in re.findall(r"^flips (\w+) (\w+) (\d+)$", done.stdout, re.M):
        tally.ends[kind][end] += int(n)
    tally.starts_max = max(tally.starts_max, int(re.search(r"at most: (\d+)", done.stdout).group(1)))
    tally.answers += sum(map(int, re.findall(r"(\d+) (?:linearizable reads|watch events)", done.stdout)))
    tally.writes += int(re.search(r"(\d+) acknowledged", done.stdout).group(1))
    print(" ".join(argv[1:]) + "\n" + done.stdout.split("flips log")[0].rstrip())
    undecided = re.search(r"(\d+) undecided", done.stdout)
    if done.returncode or undecided:
        for line in re.findall(r"^seed \d+: .*$", done.stdout, re.M) or ["undecided"]:
            loop = "starts" in line or "again and again" in line or "come back" in line
            (tally.loops if loop else tally.lost if "lost" in line else tally.wrong).append(line)


# -- real processes --

class Model:
    """What was acknowledged: the values of each object by revision. One writer, so that it is exact."""

    def __init__(self, rng):
        self.rng, self.values, self.count = rng, {}, 0

    def write(self, cluster, node):
        """To `node`; an unknown outcome is asked again: the same values are the same write."""
        self.count += 1
        names = self.rng.sample(range(OBJECTS), PER_WRITE)
        items = [{"verb": "apply", "object": entry(f"e{i}", self.count)} for i in names]
        headers = {"Idempotency-Key": f"{cluster.base}-{self.count}"}

        def attempt():
            r = node.api("POST", "/weft/v1/batch?fieldManager=bitrot", {"items": items}, headers=headers, timeout=5)
            assert r.status == 200 or r.status >= 500, r
            return r.json()["revision"] if r.status == 200 else None
        revision = wait_for(attempt, 30, "a write is acknowledged")
        for i in names:
            self.values.setdefault(f"e{i}", []).append((revision, str(self.count)))
        return revision

    def at(self, revision):
        state = {}
        for name, versions in self.values.items():
            known = [v for r, v in versions if r <= revision]
            if known:
                state[name] = known[-1]
        return state


def entry(name, value):
    return {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"address": "192.0.2.1", "labels": {"n": str(value)}, "network": FILL[:60],
                     "locality": "a/b/c", "serviceAccount": FILL[:200]}}


def listed(node, query=""):
    r = node.api("GET", f"{PATH}?limit=5000{query}", timeout=5)
    if r.status != 200:
        return None, r
    body = r.json()
    return int(body["metadata"]["resourceVersion"]), {o["metadata"]["name"]: o["spec"]["labels"]["n"] for o in body["items"]}


class Real:
    def __init__(self, cluster, seed, tally):
        self.c, self.rng, self.tally = cluster, random.Random(seed), tally
        self.model = Model(random.Random(seed + 1))
        self.said = {n.name: 0 for n in cluster.nodes}

    def prepare(self):
        for _ in range(60):
            last = self.model.write(self.c, self.c.nodes[0])
        self.c.wait_same()
        return last

    def compare(self, node, query="", at=None):
        """Everything that it stores, at the revision that it says. Whatever it refuses is no answer."""
        revision, seen = listed(node, query)
        if revision is None:
            return 0
        self.tally.answers += 1
        want = self.model.at(at or revision)
        if seen != want:
            differ = sorted(n for n in set(seen) | set(want) if seen.get(n) != want.get(n))
            self.tally.wrong.append(f"{node.name} @{at or revision}: {differ[:3]} of {len(differ)} objects are others")
        return revision

    def draw(self, node):
        kind = self.rng.choices(list(SHARES), SHARES.values())[0]
        for k in (kind, "lmdb"):
            paths = sorted(p for g in PATTERNS[k] for p in glob.glob(os.path.join(node.data, g)))
            if paths:
                return k, self.rng.choice(paths)
        raise AssertionError("a node without data.mdb")

    def flip(self, path):
        with open(path, "r+b") as f:
            used = len(f.read().rstrip(b"\0"))
            at = self.rng.randrange(used)
            f.seek(at)
            c = f.read(1)[0]
            f.seek(at)
            f.write(bytes([c ^ 1 << self.rng.randrange(8)]))

    def log_since(self, node):
        return node.process.log()[self.said[node.name]:]

    def one(self):
        node = self.rng.choice(self.c.nodes)
        others = [n for n in self.c.nodes if n is not node]
        kind, path = self.draw(node)
        self.said[node.name] = len(node.process.log())
        # What rots under a map that is in use is not judged here: docs/promises.md.
        running = kind != "lmdb" and self.rng.random() < 0.5
        if not running:
            node.kill()
        self.flip(path)
        ended = 0
        if running:
            self.read_while_running(node)
            ended = not node.process.alive()
            node.kill()
        last = self.model.write(self.c, self.rng.choice(others))
        self.tally.writes += 1
        node.start()
        starts = ended + self.bring_back(node, last)
        self.tally.starts_max = max(self.tally.starts_max, starts)
        log = self.log_since(node)
        end = ("refused" if starts > 1 else "rebuilt" if b"registry.quarantine" in log
               else "corrected" if any(m in log for m in MENDED) else "unnoticed")
        self.tally.ends[kind][end] += 1
        for aside in glob.glob(os.path.join(node.data, "quarantine-*")):
            shutil.rmtree(aside)

    def read_while_running(self, node):
        """It may end itself: that is no answer."""
        try:
            now = self.compare(node)
            if now:
                past = self.rng.choice(self.recent(now))
                self.compare(node, f"&resourceVersion={past}&resourceVersionMatch=Exact", past)
            for i in self.rng.sample(range(OBJECTS), 5):
                r = node.api("GET", f"{PATH}/e{i}", timeout=5)
                known = [v for _, v in self.model.values.get(f"e{i}", [])]
                have = r.json()["spec"]["labels"]["n"] if r.status == 200 else None if r.status == 404 else known
                self.tally.answers += 1
                if have is not known and have != (known[-1] if known else None) and have not in known[-2:]:
                    self.tally.wrong.append(f"{node.name}: e{i} is {have}, was {known[-1:]}")
        except web.NO_ANSWER:
            pass

    def recent(self, now):
        """Revisions of ours that the window of changes still has."""
        all_of = sorted({r for versions in self.model.values.values() for r, _ in versions if r <= now})
        return all_of[-20:]

    def bring_back(self, node, last):
        """Starts it as often as it takes. While it serves it is read: every answer counts."""
        starts, end = 1, time.monotonic() + 60
        while True:
            if not node.process.alive():
                starts += 1
                if starts > STARTS_MAX + 3:
                    raise AssertionError(f"{node.name} does not come back:\n" + self.log_since(node)[-2000:].decode())
                node.start()
            try:
                if self.compare(node) >= last and self.same(node) and self.votes(node):
                    break
            except web.NO_ANSWER:
                pass
            if time.monotonic() > end:
                raise Timeout(f"{node.name} does not catch up")
            time.sleep(0.01)
        if starts > STARTS_MAX:
            self.tally.loops.append(f"{node.name} needed {starts} starts")
        past = self.rng.choice(self.recent(last))
        try:
            self.compare(node, f"&resourceVersion={past}&resourceVersionMatch=Exact", past)
        except web.NO_ANSWER:
            pass
        return starts

    def votes(self, node):
        """One that put its data aside has the state some time before it votes: until then the other two are needed."""
        aside = (log := self.log_since(node)).rfind(b"event=registry.quarantine")
        return aside < 0 or b"event=registry.joined" in log[aside:]

    def same(self, node):
        """It has what the others have, by its own hash."""
        seen = {(s["revision"], s["stateHash"]) for s in (n.status() for n in self.c.nodes)}
        return len(seen) == 1 and node.status()["quorum"]

    def lost(self):
        """At the end: what was acknowledged is there, wherever one asks."""
        want = self.model.at(10**18)
        for node in self.c.nodes:
            _, seen = listed(node, "&consistency=linearizable")
            self.tally.lost += [f"{node.name}: {n} is {seen.get(n)}, acknowledged was {v}"
                                for n, v in want.items() if seen.get(n) != v]


def real(flips, seed, bin_dir, tally):
    tempfile.tempdir = "/dev/shm"
    began = time.monotonic()
    with Workspace("bitrot") as ws:
        c = Cluster(bin_dir, n=3, ws=ws, flags=["--snapshot-log-mib", "1", "--history", "1000"]).start()
        r = Real(c, seed, tally)
        r.prepare()
        before = tally.flips()
        while tally.flips() - before < flips and not (tally.wrong or tally.loops):
            r.one()
            for node in c.nodes:  # logs of thousands of starts
                if os.path.getsize(node.process.log_path) > 8 << 20:
                    os.truncate(node.process.log_path, 0)
        r.lost()
        for node in c.nodes:  # it may have ended itself, which was counted
            node.process.ends_alone = True
    print(f"{flips} flips under real processes in {time.monotonic() - began:.0f} s")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--flips", type=int, default=10000)
    p.add_argument("--real", type=int, help="of them under real processes; default a fifth")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--jobs", type=int, default=1, help="of weft-sim")
    a = p.parse_args()
    bin_dir = os.path.abspath(default_bin_dir())
    of_real = a.flips // 5 if a.real is None else min(a.real, a.flips)
    tally = Tally()
    began = time.monotonic()
    if a.flips > of_real:
        simulate(a.flips - of_real, a.seed, a.jobs, bin_dir, tally)
    if of_real:
        real(of_real, a.seed, bin_dir, tally)
    for what in tally.wrong + tally.lost + tally.loops:
        print("VIOLATION: " + what)
    print(tally.table())
    print(f"{tally.flips()} flips, seed {a.seed}, {time.monotonic() - began:.0f} s; {tally.writes} acknowledged writes, "
          f"{tally.answers} answers compared; starts for one flip, at most: {tally.starts_max}")
    print(f"{len(tally.wrong)} wrong answers, {len(tally.lost)} acknowledged writes lost, {len(tally.loops)} crash loops")
    return 1 if tally.wrong or tally.lost or tally.loops or tally.flips() < a.flips else 0


if __name__ == "__main__":
    sys.exit(main())
