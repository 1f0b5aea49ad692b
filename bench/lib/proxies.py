"""weft-proxy and its peers before the same upstream, each alone on one core, measured in turns.

The proxy under test runs on core 1, load generator and upstreams on core 0. The figure is the
proxy's own CPU time (schedstat of its threads) over the requests that the generator counted: what
the generator's core can send bounds requests/s, so that is no figure here.
"""

import json
import os
import re
import subprocess

from tests.lib.cluster import Cluster, Proxy
from tests.lib.process import wait_for
from tests.lib import web

from . import sample

PROXY_CORE, LOAD_CORE = 1, 0
BODY = "x" * 1024
H1_PORT, H2_PORT, PROXY_PORT = 8080, 8081, 15001
# Host names of the two upstreams, as weft's services are called.
H1_HOST, H2_HOST = f"upstream.default:{H1_PORT}", f"upstream.default:{H2_PORT}"


def pinned(core, argv):
    return ["taskset", "-c", core, *argv]


def listens(addr):
    import socket
    socket.create_connection(web.split_addr(addr), 1).close()
    return True


class Bench:
    """Upstreams, one node of weftd, and the proxies that were asked for."""

    def __init__(self, ws, run, h2):
        self.ws, self.run, self.h2 = ws, run, h2
        self.cluster = Cluster(run.bin_dir, n=1, ws=ws).start()
        self.up = self.cluster.host(50)
        self.proxies = []
        (self._h2_upstream if h2 else self._h1_upstream)()

    def file(self, name, text):
        path = self.ws.path(name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def spawn(self, name, core, argv, listen):
        p = self.ws.spawn(name, pinned(core, argv))
        wait_for(lambda: listens(listen), 10, f"{name} listens")
        return p

    def _h1_upstream(self):
        at = f"{self.up}:{H1_PORT}"
        conf = self.file("upstream.conf", f"""
worker_processes 1; daemon off; master_process off; pid {self.ws.path('up.pid')};
error_log /dev/null; events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  server {{ listen {at}; location / {{ return 200 "{BODY}"; }} }} }}""")
        self.spawn("upstream", LOAD_CORE, ["nginx", "-c", conf], at)

    def _h2_upstream(self):
        os.mkdir(self.ws.path("www"))
        self.file("www/index.html", BODY)
        self.spawn("upstream", LOAD_CORE, ["nghttpd", "--no-tls", "-a", self.up, "-d",
                                           self.ws.path("www"), H2_PORT], f"{self.up}:{H2_PORT}")

    def add(self, kind):
        p = KINDS[kind](self)
        self.proxies.append(p)
        return p

    def once(self):
        """Every proxy answers the body: a figure of something else would be worthless."""
        for p in self.proxies:
            if self.h2:
                out = subprocess.run(["nghttp", "-H", f":authority: {p.host}", f"http://{p.at}/"],
                                     capture_output=True, text=True, check=False).stdout
                assert out == BODY, f"{p.name} answers {out[:200]!r}"
            else:
                r = web.get(p.at, "/", headers={"Host": p.host})
                assert r.status == 200 and r.text() == BODY, f"{p.name} answers {r}"

    def rounds(self, n, cases, proxies=None):
        """Each case, each proxy, n times in turns, the first place changing."""
        proxies = proxies or self.proxies
        for case in cases:
            for p in proxies:
                case.run_load(self, p, 1)
        for i in range(n):
            for case in cases:
                for j in range(len(proxies)):
                    self.measure(case, proxies[(i + j) % len(proxies)])

    def measure(self, case, p):
        before = sample.cpu_ns(p.pid)
        r = case.run_load(self, p, self.run.args.seconds)
        r["cpu_us"] = (sample.cpu_ns(p.pid) - before) / 1000 / r["requests"]
        assert not r["failed"], f"{p.name}: {r}"
        p.results.setdefault(case.name, []).append(r)
        self.run.say(f"{case.name}, {p.name:8} {r['cpu_us']:6.2f} us/request, "
                     f"{r['requests'] / self.run.args.seconds:8.0f} requests/s, "
                     f"p50 {r['p50_us'] / 1000:.2f} p99 {r['p99_us'] / 1000:.2f} ms")


class Under:
    """A proxy under test, alone on its core."""

    def __init__(self, bench, name, host_number, host="bench"):
        self.bench, self.name, self.results = bench, name, {}
        self.at = f"{bench.cluster.host(host_number)}:{PROXY_PORT}"
        self.host = host
        self.upstream = f"{bench.up}:{H2_PORT if bench.h2 else H1_PORT}"
        self.process = self.start()
        self.rss_empty_kb = sample.memory_kb("Rss", self.process.pid)

    @property
    def pid(self):
        return self.process.pid

    def values(self, case, field):
        return [r[field] for r in self.results[case]]

    def start(self):
        raise NotImplementedError


class Weft(Under):
    """weft-proxy with a real control plane: its configuration comes over xDS."""

    log, number = False, 60

    def __init__(self, bench):
        super().__init__(bench, "weft", self.number, H2_HOST if bench.h2 else H1_HOST)
        c, ports = bench.cluster, [("http", H1_PORT), ("http2", H2_PORT)]
        c.batch([
            {"apiVersion": "v1", "kind": "Service",
             "metadata": {"name": "upstream", "namespace": "default"},
             "spec": {"ports": [{"name": n, "port": p, "targetPort": p} for n, p in ports]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {"name": "upstream-1", "namespace": "default",
                          "labels": {"kubernetes.io/service-name": "upstream"}},
             "addressType": "IPv4", "ports": [{"name": n, "port": p} for n, p in ports],
             "endpoints": [{"addresses": [bench.up]}]}])
        c.wait()

    def start(self):
        c = self.bench.cluster
        p = Proxy(c, name=f"bench-{self.number}", address=c.host(self.number), start=False,
                  state=False, flags=[] if self.log else ["--access-log", "off"])
        p.process.argv = pinned(PROXY_CORE, p.process.argv)
        p.start().wait_ready()
        return p.process


class WeftLog(Weft):
    """As it comes: Istio's line for each request on standard output, which is a file here."""
    log, number = True, 61


class Nginx(Under):
    log, number = False, 70

    def __init__(self, bench):
        super().__init__(bench, "nginx", self.number)

    def start(self):
        b, name = self.bench, f"nginx-{self.number}"
        log = f"{b.ws.path(name)}-access.log" if self.log else "off"
        conf = b.file(f"{name}.conf", f"""
worker_processes 1; daemon off; master_process off; pid {b.ws.path(name)}.pid;
error_log /dev/null; events {{ worker_connections 8192; }}
http {{ access_log {log}; keepalive_requests 1000000000; keepalive_timeout 3600;
  upstream up {{ server {self.upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen {self.at}; location / {{ proxy_pass http://up; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_set_header X-Request-Id $request_id; proxy_set_header X-Forwarded-Proto http; }} }} }}""")
        return b.spawn(name, PROXY_CORE, ["nginx", "-c", conf], self.at)


class NginxLog(Nginx):
    log, number = True, 73


class Haproxy(Under):
    def __init__(self, bench):
        super().__init__(bench, "haproxy", 71)

    def start(self):
        proto = " proto h2" if self.bench.h2 else ""
        conf = self.bench.file("haproxy.cfg", f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse safe
listen l
  bind {self.at}{proto}
  http-request set-header x-request-id %[uuid]
  http-request set-header x-forwarded-proto http
  server s {self.upstream}{proto}
""")
        return self.bench.spawn("haproxy", PROXY_CORE, ["haproxy", "-f", conf], self.at)


class Nghttpx(Under):
    def __init__(self, bench):
        super().__init__(bench, "nghttpx", 72)

    def start(self):
        front, back = self.at.replace(":", ","), self.upstream.replace(":", ",")
        return self.bench.spawn("nghttpx", PROXY_CORE, [
            "nghttpx", "--workers=1", f"--frontend={front};no-tls", f"--backend={back};;proto=h2",
            "--conf=/dev/null", "--accesslog-file=/dev/null", "--errorlog-file=/dev/null"], self.at)


KINDS = {"weft": Weft, "weft-log": WeftLog, "nginx": Nginx, "nginx-log": NginxLog,
         "haproxy": Haproxy, "nghttpx": Nghttpx}


# -- loads --

def generator(argv):
    r = subprocess.run([str(a) for a in pinned(LOAD_CORE, argv)], capture_output=True, text=True,
                       check=False)
    return r.stdout


class Closed:
    """wrk: so many connections, the next request as soon as the answer is there."""

    def __init__(self, connections):
        self.connections = connections
        self.name = f"HTTP/1.1, {connections} connections"

    def run_load(self, bench, p, seconds):
        out = generator(["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}", "--latency",
                         "-H", f"Host: {p.host}", f"http://{p.at}/"])
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        sockets = re.search(r"Socket errors: (.*)", out)
        assert not sockets, f"{p.name}: {sockets.group(0)}"
        return {"requests": int(re.search(r"(\d+) requests in", out).group(1)),
                "failed": int(bad.group(1)) if bad else 0,
                "p50_us": _wrk_us(out, 50), "p99_us": _wrk_us(out, 99)}


def _wrk_us(out, percent):
    value, unit = re.search(rf"^\s+{percent}%\s+([0-9.]+)(us|ms|s)", out, re.M).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


class Paced:
    """weft-load: a fixed rate, whatever the answers do; latency counts from the due time."""

    def __init__(self, rate, connections=16):
        self.rate, self.connections = rate, connections
        self.name = f"HTTP/1.1, {rate:,} requests/s"

    def run_load(self, bench, p, seconds):
        out = generator([bench.run.program("weft-load"), "--to", p.at, "--host", p.host, "--rate",
                         self.rate, "--connections", self.connections, "--seconds", seconds])
        r = json.loads(out.splitlines()[-1])
        return {"requests": r["ok"], "failed": r["failed"], "p50_us": r["p50_us"],
                "p99_us": r["p99_us"]}


class Streams:
    """h2load: connections with so many streams at once each."""

    def __init__(self, connections, streams):
        self.connections, self.streams = connections, streams
        many = "stream" if streams == 1 else "streams"
        self.name = f"HTTP/2, {connections} connections x {streams} {many}"

    def run_load(self, bench, p, seconds):
        log = bench.ws.path("h2load.log")
        out = generator(["h2load", "-t1", f"-c{self.connections}", f"-m{self.streams}",
                         f"-D{seconds}", f"--log-file={log}",
                         f"--connect-to={p.at}", f"http://{p.host}/"])
        m = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed",
                      out)
        assert m, f"{p.name}: {out[-500:]}"
        us = []
        with open(log, encoding="ascii") as f:
            for line in f:
                us.append(int(line.split("\t")[2]))
        os.unlink(log)
        us.sort()
        return {"requests": int(m.group(1)), "failed": int(m.group(2)),
                "p50_us": us[len(us) // 2], "p99_us": us[int(len(us) * 0.99)]}
