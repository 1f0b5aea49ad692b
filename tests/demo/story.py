#!/usr/bin/env python3
"""The demo: a mesh with a highly available control plane, and what happens to it.

    story.py            starts everything, shows how to look around, waits for Ctrl-C
    story.py --story    plays the story, prints a table; status 0 only if every claim held
"""

import argparse
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from mesh import GATEWAY_URL, ROOT, Mesh  # noqa: E402
from lib.cluster import Timeout, Workspace, wait_for  # noqa: E402
from lib import web  # noqa: E402


class Story:
    def __init__(self, mesh):
        self.mesh, self.rows, self.start = mesh, [], time.monotonic()

    def say(self, text):
        for line in text.splitlines():
            print(f"  {line}", flush=True)

    def chapter(self, title):
        print(f"\n[{time.monotonic() - self.start:5.1f} s] {title}", flush=True)

    def claim(self, what, held, seen):
        self.rows.append((what, bool(held), seen))
        print(f"  {'ok ' if held else 'NOT'} {what}: {seen}", flush=True)

    def table(self):
        width = max(len(r[0]) for r in self.rows)
        print(f"\n{'CLAIM'.ljust(width)}  HELD  SEEN")
        for what, held, seen in self.rows:
            print(f"{what.ljust(width)}  {'yes ' if held else 'NO  '}  {seen}")
        failed = sum(not r[1] for r in self.rows)
        print(f"\n{len(self.rows) - failed} of {len(self.rows)} claims held "
              f"in {time.monotonic() - self.start:.0f} s")
        return failed == 0


def begin(mesh, story):
    story.chapter("Three control-plane nodes, seven instances of five services, their proxies, a gateway")
    seconds = mesh.start_control_plane()
    story.say(f"three nodes agree, {mesh.cluster.leader().name} leads, after {seconds * 1000:.0f} ms")
    mesh.start_apps()
    applied = mesh.apply("services.yaml", "routing.yaml", wait=False)
    if applied.code:
        raise Timeout(f"weft apply: {applied.text}")
    story.say(f"services and routes registered: {len(applied.out.splitlines())} objects in one entry")
    mesh.start_proxies()
    total = len(mesh.proxies)
    wait_for(lambda: mesh.cluster.status()["proxies"].get("total") == total, 20,
             f"{total} proxies are connected")
    live = mesh.weft("wait", f"@{mesh.cluster.revision()}", "--timeout", "20s")
    story.claim("mesh is live on every proxy", live.code == 0, live.text.splitlines()[-1])
    wait_for(lambda: web.get("127.1.0.1:8080", "/productpage", timeout=5).status == 200, 10,
             "the product page answers through the gateway")


def canary(mesh, story):
    story.chapter("weft apply -f reviews-90-10.yaml --wait")
    applied = mesh.apply("reviews-90-10.yaml")
    story.say(applied.text)
    story.claim("10 % of reviews go to v2, live everywhere", applied.code == 0, applied.text.splitlines()[-1])
    shares, _ = mesh.shares(4000, rate=2000)
    share = shares.get("reviews-v2", 0)
    story.claim("measured split is 10 % ± 2", abs(share - 10) <= 2, f"{share:.1f} % of 4,000 requests")


def header_rule(mesh, story):
    story.chapter("A rule sends one user to v3")
    applied = mesh.apply("reviews-jason-v3.yaml")
    jason, _ = mesh.shares(500, headers=["end-user: jason"], rate=500)
    others, _ = mesh.shares(500, headers=["end-user: anna"], rate=500)
    story.claim("jason sees v3, nobody else does",
                applied.code == 0 and jason.get("reviews-v3", 0) == 100 and "reviews-v3" not in others,
                f"jason {jason.get('reviews-v3', 0):.0f} % v3, anna {others.get('reviews-v3', 0):.0f} %")


def retries(mesh, story):
    story.chapter("One instance of ratings fails every request; retries hide it")
    mesh.apps["ratings-v1-b"].process.signal(signal.SIGUSR1)
    _, before = mesh.shares(500, service="ratings", rate=500)
    applied = mesh.apply("ratings-retries.yaml")
    _, after = mesh.shares(500, service="ratings", rate=500)
    story.claim("without retries requests fail", before["failed"] > 50, f"{before['failed']} of {before['sent']}")
    story.claim("with retries none does", applied.code == 0 and after["failed"] == 0,
                f"{after['failed']} of {after['sent']}")


def leader_killed(mesh, story, load):
    story.chapter("The leader is killed (SIGKILL)")
    load.wait_sent(500)
    before, sent = load.latest(), mesh.resource_bytes()
    leader = mesh.cluster.leader()
    killed = time.monotonic()
    leader.kill()
    new = wait_for(mesh.cluster.leader, 10, "a new leader")
    ms = (time.monotonic() - killed) * 1000
    applied = mesh.apply("reviews-90-10.yaml")
    story.say(applied.text)
    mesh.wait_streaming()
    load.wait_sent(500)
    mesh.apply("reviews-jason-v3.yaml")
    after = load.latest()
    story.claim("a new leader", ms < 1000, f"{new.name} instead of {leader.name}, seen after {ms:.0f} ms")
    story.claim("no request fails when the leader dies", after["failed"] == before["failed"],
                f"{after['failed'] - before['failed']} of {after['sent'] - before['sent']}")
    return leader, sent


def nothing_resent(mesh, story, node):
    story.chapter("The dead node comes back; its proxies had moved")
    node.start()
    wait_for(lambda: node.status()["quorum"], 20, f"{node.name} is back")
    mesh.cluster.wait_same()
    before = mesh.resource_bytes()
    node = mesh.cluster.leader()
    node.kill()
    wait_for(mesh.cluster.leader, 10, "a new leader")
    mesh.wait_streaming()
    live = mesh.weft("wait", f"@{mesh.cluster.revision()}", "--timeout", "20s")
    after = mesh.resource_bytes()
    resent = sum(after.values()) - sum(before.values())
    story.claim("nothing is sent again after a failover", resent == 0 and live.code == 0,
                f"{resent} resource bytes; {live.text.splitlines()[-1]}")
    node.start()
    mesh.cluster.wait_same()


def refused(mesh, story):
    story.chapter("weft apply -f reviews-broken.yaml")
    answer = mesh.apply("reviews-broken.yaml")
    story.say(answer.text)
    named = all(w in answer.text for w in ("reviews", "subset", "v9"))
    story.claim("a broken change is refused with object, field and reason", answer.code in (65, 79) and named,
                f"exit {answer.code}")


def quorum_lost(mesh, story, load):
    story.chapter("Two of three nodes are killed")
    leader = mesh.cluster.leader()
    other = next(n for n in mesh.cluster.nodes if n is not leader)
    before = load.latest()
    leader.kill()
    other.kill()
    answer = mesh.apply("reviews-90-10.yaml", wait=False)
    story.say(answer.text)
    load.wait_sent(500)
    after = load.latest()
    story.claim("writes are refused with a clear error", answer.code == 69 and "quorum" in answer.text,
                f"exit {answer.code} after {answer.ms:.0f} ms")
    story.claim("traffic goes on without a quorum", after["failed"] == before["failed"],
                f"{after['failed'] - before['failed']} of {after['sent'] - before['sent']} requests failed")


def all_dead(mesh, story, load):
    story.chapter("All three are dead; a proxy is restarted")
    before = load.latest()
    for node in mesh.cluster.nodes:
        node.kill()
    proxy = mesh.proxies["reviews-v3"]
    proxy.kill()
    restarted = time.monotonic()
    proxy.start()
    wait_for(lambda: web.get("127.1.0.10:15001", "/reviews", headers={"host": "reviews:9080", "end-user": "jason"},
                             timeout=2).status == 200, 10, "the restarted proxy serves", every=0.005)
    ms = (time.monotonic() - restarted) * 1000
    load.wait_sent(1000)
    after = load.latest()
    story.claim("a restarted proxy serves from its last known good", ms < 1000, f"after {ms:.0f} ms")
    story.claim("traffic goes on without a control plane", after["failed"] == before["failed"],
                f"{after['failed'] - before['failed']} of {after['sent'] - before['sent']} requests failed")


def healed(mesh, story):
    story.chapter("Everything heals")
    start = time.monotonic()
    for node in mesh.cluster.nodes:
        node.start()
    mesh.cluster.wait_ready()
    mesh.cluster.wait_same()
    total = len(mesh.proxies)
    wait_for(lambda: mesh.cluster.status()["proxies"].get("total") == total, 20, "all proxies are back")
    applied = mesh.apply("routing.yaml")
    story.say(applied.text.splitlines()[-1])
    story.claim("everything converges", applied.code == 0,
                f"{total} proxies at one revision, {time.monotonic() - start:.1f} s after the start")


def look_around(mesh, story):
    mesh.cluster.wait()
    for args in (["status"], ["get", "virtualservices"], ["proxy-status"],
                 ["proxy-config", "routes", "productpage-v1.default"]):
        story.chapter("weft " + " ".join(args))
        answer = mesh.weft(*args)
        story.say(answer.text)
        story.claim("weft " + args[0] + " answers", answer.code == 0, f"exit {answer.code}")


def play(mesh, story):
    begin(mesh, story)
    canary(mesh, story)
    header_rule(mesh, story)
    retries(mesh, story)
    load = mesh.load()
    leader, _ = leader_killed(mesh, story, load)
    nothing_resent(mesh, story, leader)
    refused(mesh, story)
    quorum_lost(mesh, story, load)
    all_dead(mesh, story, load)
    healed(mesh, story)
    last = load.finish()
    story.claim("of all requests since the retries none failed", last["failed"] == 0,
                f"{last['failed']} of {last['sent']}; p50 {last['p50_us'] / 1000:.1f} ms, "
                f"p99 {last['p99_us'] / 1000:.1f} ms" +
                (f"; last {last['last_failure']}" if last["failed"] else ""))
    look_around(mesh, story)
    return story.table()


def wait_for_a_person(mesh, story):
    begin(mesh, story)
    mesh.load(rate=200)
    addrs = ",".join(n.api_addr for n in mesh.cluster.nodes)
    print(f"""
The mesh is up; 200 requests a second go through {GATEWAY_URL}. In another terminal:

  export PATH={mesh.bin_dir}:$PATH WEFT_ADDR={addrs}
  weft status
  weft apply -f {os.path.relpath(ROOT)}/deploy/demo/reviews-90-10.yaml --wait
  weft proxy-status
  weft proxy-config routes productpage-v1.default
  kubectl --server http://{mesh.cluster.node(1).api_addr} get virtualservices
  kill -9 {mesh.cluster.leader().pid}        # the leader; then look at weft status again

Ctrl-C ends it.""", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", action="store_true", help="play the story and end")
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "release", "bin"))
    args = parser.parse_args()
    with Workspace("demo") as ws:
        mesh = Mesh(os.path.abspath(args.bin), ws)
        story = Story(mesh)
        held = (play if args.story else wait_for_a_person)(mesh, story)
        ws.keep = not held
        return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
