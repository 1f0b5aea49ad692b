"""1,000 services with 2 endpoints on one port, 1,000 delta xDS clients: connect, reconnect, change.

weft-adsload stands for the proxies, spread over the nodes. The clients take their share of the same
two cores. Times start before the write is sent and end when the last proxy has the bytes. No peer.
"""

from bench.lib import mesh, sample
from bench.lib.rows import Row, median_row
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-adsload")
PEERS = ()
PACKAGES = ("libraft2", "liblmdb0", "libnghttp2-14")


def options(p):
    p.add_argument("--nodes", type=int, default=3)
    p.add_argument("--services", type=int, default=1000)
    p.add_argument("--proxies", type=int, default=1000)
    p.add_argument("--changes", type=int, default=20, help="of each kind")
    p.add_argument("--reconnects", type=int, default=3)
    p.add_argument("--agent", default="weft-proxy")


def quick(args):
    args.services, args.proxies, args.changes, args.reconnects = 100, 100, 3, 1


def changes(run, cluster, crowd, writer, make):
    out, cpu = [], sample.cpu_ns(*mesh.pids(cluster))
    for i in range(run.args.changes):
        out.append(crowd.change(writer, make(i + 1)))
        writer.wait(out[-1]["revision"])
    cpu = (sample.cpu_ns(*mesh.pids(cluster)) - cpu) / 1e6 / run.args.changes
    return out, cpu


def change_rows(what, found, ms_goal, bytes_goal=None):
    seen, cpu = found
    return [
        median_row(f"{what}, last proxy has it", "ms", [r["ms"] for r in seen],
                   goal=("value", ms_goal)),
        median_row(f"{what}, sent", "bytes/proxy", [r["bytes"] for r in seen],
                   goal=("value", bytes_goal) if bytes_goal else None),
        Row(f"{what}, cpu of the servers", "ms", cpu, runs=len(seen)),
    ]


def run(run):
    args = run.args
    with Workspace("bench-scale") as ws:
        cluster = Cluster(run.bin_dir, n=args.nodes, ws=ws).start()
        mesh.load(cluster, args.services)
        before = mesh.settled_kb(cluster)
        crowd = mesh.Crowd(run, ws, cluster, args.proxies, args.agent)
        cold = crowd.connected
        run.say(f"connected: {cold}")
        memory = mesh.settled_kb(cluster) - before
        again = []
        for _ in range(args.reconnects):
            again.append(crowd.reconnect())
            run.say(f"reconnected: {again[-1]}")
        writer = mesh.Writer(cluster.leader().api_addr)
        endpoint = changes(run, cluster, crowd, writer, lambda i: mesh.endpoints(7, i))
        weight = changes(run, cluster, crowd, writer, mesh.weights)
        crowd.quit()
        return [
            Row("cold connect, last in sync", "s", cold["last_ms"] / 1000, goal=("value", 15)),
            Row("cold connect, sent", "bytes/proxy", cold["bytes"] / args.proxies),
            Row("cold connect, cpu of the servers", "s", cold["server_cpu_s"]),
            median_row("reconnect, last in sync", "s", [r["last_ms"] / 1000 for r in again],
                       goal=("value", 5)),
            median_row("reconnect, resources sent", "bytes/proxy",
                       [r["resource_bytes"] / args.proxies for r in again], goal=("value", 0)),
            median_row("reconnect, cpu of the servers", "s", [r["server_cpu_s"] for r in again]),
            *change_rows("one endpoint changed", endpoint, 60),
            *change_rows("one weight changed", weight, 100, 8192),
            Row("server memory (PSS growth)", "KB/proxy", memory / args.proxies,
                goal=("value", 100)),
        ]
