"""From a committed change to the last proxy's ACK: three weftd, 100 light xDS clients.

weft-adsload stands for the proxies: delta ADS, spread over the nodes, each acknowledges at once. A
client of the API writes a VirtualService's weight and an endpoint in turns and then asks the API to
wait for the revision: from the answer of the write (committed) to the answer of the wait (every
proxy of every node has acknowledged it) is the figure; both answers pay the same way back. The
second figure starts before the write is sent and ends when the last proxy has the bytes. No peer.
"""

from bench.lib import mesh
from bench.lib.rows import Row, quantile
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-adsload")
PEERS = ()
PACKAGES = ("libraft2", "liblmdb0", "libnghttp2-14")


def options(p):
    p.add_argument("--proxies", type=int, default=100)
    p.add_argument("--services", type=int, default=100)
    p.add_argument("--changes", type=int, default=300)
    p.add_argument("--agent", default="weft-proxy", help="dialect that the clients say they speak")


def quick(args):
    args.changes = 20


def run(run):
    args, commit_ms, whole_ms = run.args, [], []
    with Workspace("bench-propagation") as ws:
        cluster = Cluster(run.bin_dir, n=3, ws=ws).start()
        mesh.load(cluster, args.services)
        crowd = mesh.Crowd(run, ws, cluster, args.proxies, args.agent)
        writer = mesh.Writer(cluster.leader().api_addr)
        for i in range(args.changes + 10):
            obj = mesh.weights(i + 1) if i % 2 else mesh.endpoints(7, i + 1)
            r = crowd.change(writer, obj)
            done = writer.wait(r["revision"])
            if i >= 10:  # the first ones warm up
                commit_ms.append((done - r["acked_ns"]) / 1e6)
                whole_ms.append(r["ms"])
        crowd.quit()
        what = f"{args.proxies} proxies, {args.services} services"
        n = args.changes
        return [
            Row(f"{what}, commit to last ACK p50", "ms", quantile(commit_ms, 0.5), runs=n,
                samples={"ours": commit_ms}),
            Row(f"{what}, commit to last ACK p99", "ms", quantile(commit_ms, 0.99), runs=n,
                goal=("value", 15)),
            Row(f"{what}, write sent to last proxy has it p50", "ms", quantile(whole_ms, 0.5),
                runs=n, samples={"ours": whole_ms}),
            Row(f"{what}, write sent to last proxy has it p99", "ms", quantile(whole_ms, 0.99),
                runs=n),
        ]
