#!/usr/bin/env python3
"""CPU per request of the data path against nginx, HAProxy and nghttpx, interleaved in one run.

    bench/datapath.py --proxy build/release/bin/weft-bench-proxy [--rounds 5] [--seconds 3]
                      [--cases h1,h1c256,h2,h2c64,tcp] [--only weft,nginx] [--port 21700]

The proxy under test has one worker, alone on core 1; load generator and upstream run on core 0. The
figure is the proxy's own CPU time (schedstat of all its threads) over the requests that the generator
counted; requests/s is bounded by the generator's core. Each round runs every peer once, so that a noisy
neighbour hits all; best and median of the rounds are printed, with the ratio of medians.
"""
import argparse
import glob
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BODY = "x" * 1024


def cpu_ns(pid):
    total = 0
    for p in descendants(pid):
        for path in glob.glob(f"/proc/{p}/task/*/schedstat"):
            try:
                with open(path) as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass
    return total


def descendants(pid):
    out = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path) as f:
            for child in f.read().split():
                out += descendants(int(child))
    return out


def rss_kb(pid):
    total = 0
    for p in descendants(pid):
        with open(f"/proc/{p}/smaps_rollup") as f:
            total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))
    return total


def wait_port(port, timeout=10):
    end = time.time() + timeout
    while time.time() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


class Bench:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="weft-bench-")
        self.procs = []
        self.h1_up, self.h2_up = args.port, args.port + 1
        self.next_port = args.port + 10

    def spawn(self, core, argv):
        p = subprocess.Popen(["taskset", "-c", str(core)] + argv, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        self.procs.append(p)
        return p

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def upstreams(self):
        conf = self.file("up.conf", f"""
worker_processes 1; daemon off; master_process off; pid {self.dir}/up.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  server {{ listen 127.0.0.1:{self.h1_up}; location / {{ return 200 "{BODY}"; }} }} }}""")
        self.spawn(0, ["nginx", "-c", conf])
        os.mkdir(os.path.join(self.dir, "www"))
        self.file("www/index.html", BODY)
        self.spawn(0, ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", os.path.join(self.dir, "www"),
                       str(self.h2_up)])
        wait_port(self.h1_up)
        wait_port(self.h2_up)

    def port(self):
        self.next_port += 1
        return self.next_port

    def weft(self, case):
        port = self.port()
        up = self.h2_up if case.h2 else self.h1_up
        argv = [self.args.proxy, "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{up}"]
        argv += ["--h2-upstream"] if case.h2 else []
        argv += ["--tcp"] if case.tcp else []
        return self.spawn(1, argv), port

    def nginx(self, case):
        port = self.port()
        if case.h2 or case.tcp: # nginx speaks no HTTP/2 upstream; its stream module is a package apart
            return None, 0
        body = f"""http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  upstream up {{ server 127.0.0.1:{self.h1_up}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id;
    proxy_set_header X-Forwarded-Proto http; }} }} }}"""
        conf = self.file(f"nginx{port}.conf", f"""
worker_processes 1; daemon off; master_process off; pid {self.dir}/n{port}.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
{body}""")
        return self.spawn(1, ["nginx", "-c", conf]), port

    def haproxy(self, case):
        port = self.port()
        up = self.h2_up if case.h2 else self.h1_up
        proto = " proto h2" if case.h2 else ""
        mode = "tcp" if case.tcp else "http"
        http = "" if case.tcp else """
  http-reuse always
  http-request set-header x-request-id %[uuid]
  http-request set-header x-forwarded-proto http"""
        conf = self.file(f"ha{port}.cfg", f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode {mode}
  timeout client 60s
  timeout server 60s
  timeout connect 5s
listen l
  bind 127.0.0.1:{port}{proto}{http}
  server s 127.0.0.1:{up}{proto}
""")
        return self.spawn(1, ["haproxy", "-f", conf]), port

    def nghttpx(self, case):
        port = self.port()
        if not case.h2:
            return None, 0
        return self.spawn(1, ["nghttpx", "--workers=1", f"--frontend=127.0.0.1,{port};no-tls",
                              f"--backend=127.0.0.1,{self.h2_up};;proto=h2",
                              "--conf=/dev/null", "--accesslog-file=/dev/null",
                              "--errorlog-file=/dev/null"]), port

    def load(self, case, port, seconds):
        url = f"http://127.0.0.1:{port}/"
        if case.h2:
            argv = ["h2load", "-t1", f"-c{case.conns}", f"-m{case.streams}", f"-D{seconds}", url]
        else:
            argv = ["wrk", "-t1", f"-c{case.conns}", f"-d{seconds}", url]
        out = subprocess.run(["taskset", "-c", "0"] + argv, capture_output=True, text=True).stdout
        if case.h2:
            m = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", out)
            done, failed = int(m.group(2)), int(m.group(3))
        else:
            done = int(re.search(r"(\d+) requests in", out).group(1))
            bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
            failed = int(bad.group(1)) if bad else 0
        return done, failed

    def stop(self):
        for p in reversed(self.procs):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.procs:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Case:
    def __init__(self, name, conns, streams=1, h2=False, tcp=False):
        self.name, self.conns, self.streams, self.h2, self.tcp = name, conns, streams, h2, tcp


CASES = {
    "h1": Case("HTTP/1.1, 1 KB, 32 connections", 32),
    "h1c256": Case("HTTP/1.1, 1 KB, 256 connections", 256),
    "h2": Case("HTTP/2, 1 KB, 8 connections x 16 streams", 8, 16, h2=True),
    "h2c64": Case("HTTP/2, 1 KB, 64 connections x 1 stream", 64, 1, h2=True),
    "tcp": Case("TCP relay, 1 KB, 32 connections", 32, tcp=True),
}


def measure(bench, key, args):
    case, peers = CASES[key], {}
    for name in args.only.split(","):
        if name != "weft" and not shutil.which(name):
            print(f"  {name}: not installed, skipped")
            continue
        proc, port = getattr(bench, name)(case)
        if proc:
            wait_port(port)
            peers[name] = (proc, port, [])
    for name, (proc, port, runs) in peers.items():
        bench.load(case, port, 1)
    for _ in range(args.rounds):
        for name, (proc, port, runs) in peers.items():
            before = cpu_ns(proc.pid)
            start = time.time()
            done, failed = bench.load(case, port, args.seconds)
            took = time.time() - start
            cpu = cpu_ns(proc.pid) - before
            runs.append((cpu / 1000 / max(done, 1), done / took, failed))
    print(case.name)
    base = None
    for name, (proc, port, runs) in peers.items():
        us = [r[0] for r in runs]
        median = statistics.median(us)
        base = base or median
        print(f"  {name:8} {min(us):6.2f} best {median:6.2f} median us/request   "
              f"{max(r[1] for r in runs):9.0f} requests/s   failed {sum(r[2] for r in runs)}   "
              f"PSS {rss_kb(proc.pid) / 1024:.1f} MB   x{median / base:.2f}")
    for proc, _, _ in peers.values():
        proc.send_signal(signal.SIGTERM)
        proc.wait()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--proxy", default="build/release/bin/weft-bench-proxy")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--seconds", type=int, default=3)
    ap.add_argument("--cases", default="h1,h2")
    ap.add_argument("--only", default="weft,nginx,haproxy,nghttpx")
    ap.add_argument("--port", type=int, default=21700)
    args = ap.parse_args()
    bench = Bench(args)
    try:
        bench.upstreams()
        for key in args.cases.split(","):
            measure(bench, key, args)
    finally:
        bench.stop()


if __name__ == "__main__":
    main()
