"""Machines for benchmarks: a network namespace each, joined by a bridge, so that one of them can
be cut off from all others as if its cable were pulled. bench/run puts benchmarks with
NAMESPACES = True into network and mount namespaces of their own, which end with them.

    wire = Wire([1, 2, 3])
    Cluster(bin_dir, base_addr=wire.base, enter=wire.enter)    # node i runs in namespace i
    wire.hole(2); wire.heal(2); wait_for(lambda: wire.flows(2), …)

route_localnet lets addresses of loopback travel: weftd wants such for what has no TLS.
"""

import os
import re
import subprocess
import sys

INSIDE = "WEFT_BENCH_INSIDE"  # set for the program that runs in the namespaces
BASE = "127.30.0"

_HOST = f"""
mount --make-rprivate /
mkdir -p /run/netns && mount -t tmpfs none /run/netns
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo
ip link add br0 type bridge && ip addr add {BASE}.254/24 dev br0 && ip link set br0 up
"""

_NODE = """
ip netns add m{i}
ip link add v{i} type veth peer name eth0 netns m{i}
ip link set v{i} master br0 up
nsenter --net=/run/netns/m{i} sh -ec '
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo
ip addr add {base}.{i}/24 dev eth0; ip link set eth0 up
nft "add table ip hole; add chain ip hole in {{ type filter hook input priority 0; }};
add chain ip hole out {{ type filter hook output priority 0; }}"'
"""


def _shell(script):
    r = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    if r.returncode:
        raise OSError(f"{script.strip()}: {r.stderr.strip()}")


def run_inside(argv):
    """Becomes the same program in namespaces of its own."""
    if os.geteuid() != 0:
        sys.exit("bench/run: this benchmark makes network namespaces: it needs root")
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", *argv])


class Wire:
    """One a program."""

    def __init__(self, machines):
        self.base = BASE
        _shell(_HOST)
        for i in machines:
            _shell(_NODE.format(i=i, base=BASE))

    @staticmethod
    def enter(i):
        """Before the command line of what runs on machine i. nsenter becomes the program: the
        process keeps its id."""
        return ["nsenter", f"--net=/run/netns/m{i}"]

    @staticmethod
    def _nft(i, commands):
        _shell(f"nsenter --net=/run/netns/m{i} nft '{commands}'")

    def hole(self, i):
        """What others send to it and it to others vanishes. It still reaches itself."""
        self._nft(i, 'add rule ip hole in iifname "eth0" drop; add rule ip hole out oifname "eth0" drop')

    def heal(self, i):
        self._nft(i, "flush chain ip hole in; flush chain ip hole out")

    def flows(self, i):
        """Nothing that it sends to another machine is lost and waits to be sent again: after a hole
        TCP tries again after twice as long each time. What the host connects to is not looked at."""
        r = subprocess.run([*self.enter(i), "ss", "-Htno", "state", "established", "state", "syn-sent"],
                           capture_output=True, text=True, check=True)
        lines = [x for x in r.stdout.splitlines() if f"{self.base}.254:" not in x]
        return not any("SYN-SENT" in x or re.search(r"timer:\(on,[^,]+,[1-9]", x) for x in lines)
