"""Memory of weftd a connected proxy, at 100 and at 1,000 proxies (growth of PSS over streams).

One node, so that it holds all streams; light clients (weft-adsload) that are in sync. "growth" counts
everything since before the first proxy came, the compiled resources of their class too; "each more"
is what the later ones cost when one is there already. No peer.
"""

from bench.lib import mesh
from bench.lib.rows import Row
from tests.lib.cluster import Cluster
from tests.lib.process import Workspace

PROGRAMS = ("weftd", "weft-adsload")
PEERS = ()
PACKAGES = ("liblmdb0", "libnghttp2-14")


def options(p):
    p.add_argument("--proxies", type=lambda s: [int(n) for n in s.split(",")], default=[100, 1000])
    p.add_argument("--services", type=int, default=0, help="0: as many as proxies")
    p.add_argument("--agent", default="weft-proxy")


def quick(args):
    args.proxies = [100]


def grown_kb(run, proxies, services):
    with Workspace("bench-memory") as ws:
        cluster = Cluster(run.bin_dir, n=1, ws=ws).start()
        mesh.load(cluster, services)
        none = mesh.settled_kb(cluster)
        crowd = mesh.Crowd(run, ws, cluster, 1, run.args.agent)
        first = mesh.settled_kb(cluster)
        crowd.quit()
        cluster.wait_proxies(0)
        crowd = mesh.Crowd(run, ws, cluster, proxies, run.args.agent)
        all_of_them = mesh.settled_kb(cluster)
        run.say(f"{proxies} proxies: {none} kB without, {first} kB with one, {all_of_them} kB")
        crowd.quit()
        return (all_of_them - none) / proxies, (all_of_them - first) / (proxies - 1)


def run(run):
    rows = []
    for n in run.args.proxies:
        services = run.args.services or n
        growth, more = grown_kb(run, n, services)
        what = f"{n} proxies, {services} services"
        rows += [Row(f"{what}, growth a stream", "KB", growth,
                     goal=("value", 60 if n <= 100 else 100)),
                 Row(f"{what}, each more stream", "KB", more)]
    return rows
