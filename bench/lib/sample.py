"""What the kernel says about a process: CPU time, memory; and about this machine."""

import glob
import os
import platform
import re
import resource
import subprocess
import time

from tests.lib.process import wait_for


def family(pid):
    """The process and all that descend from it: a master's workers count."""
    out = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path, encoding="ascii") as f:
                children = f.read().split()
        except OSError:
            continue
        for child in children:
            out += family(int(child))
    return out


def cpu_ns(*pids):
    """CPU time of all threads so far, ns, from schedstat: exact, where utime + stime are ticks.
    Threads that ended are not in it, and no server here ends any."""
    total = 0
    for pid in pids:
        for p in family(pid):
            for path in glob.glob(f"/proc/{p}/task/*/schedstat"):
                try:
                    with open(path, encoding="ascii") as f:
                        total += int(f.read().split()[0])
                except OSError:
                    pass
    return total


def _rollup(pid, field):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1))


def memory_kb(field, *pids):
    """field: Rss, Pss, Pss_Anon …, summed over processes and their children."""
    return sum(_rollup(p, field) for pid in pids for p in family(pid))


def settled_kb(field, *pids):
    """The same when it has stopped changing: within a fifth of a per cent for a second."""
    seen = []

    def look():
        seen.append(memory_kb(field, *pids))
        return len(seen) > 5 and max(seen[-5:]) - min(seen[-5:]) <= max(seen[-5:]) // 500
    wait_for(look, 60, "memory settles", every=0.2)
    return seen[-1]


class Neighbours:
    """How much of this machine other programs took meanwhile, in cores."""

    def __init__(self):
        self.start, self.busy, self.own = time.monotonic(), self._busy_s(), self._own_s()

    @staticmethod
    def _busy_s():
        with open("/proc/stat", encoding="ascii") as f:
            user, nice, system, _idle, _io, irq, softirq, steal = map(int, f.readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _own_s():
        use = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in use)

    def cores(self):
        """Only when all our processes have ended: a child counts from its end on."""
        took = time.monotonic() - self.start
        others = self._busy_s() - self.busy - (self._own_s() - self.own)
        return max(0.0, others / took)


def filesystem(path):
    """Device and type of the file system that holds path."""
    best = ("", "?", "?")
    path = os.path.realpath(path)
    with open("/proc/mounts", encoding="utf-8") as f:
        for line in f:
            dev, at, kind = line.split()[:3]
            inside = path == at or path.startswith(at.rstrip("/") + "/")
            if inside and len(at) > len(best[0]):
                best = (at, dev, kind)
    return f"{best[2]} on {best[1]}"


def _first(path, pattern, default="?"):
    try:
        with open(path, encoding="utf-8") as f:
            m = re.search(pattern, f.read(), re.M)
            return m.group(1).strip() if m else default
    except OSError:
        return default


def package_version(name):
    r = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True,
                       text=True, check=False)
    return r.stdout or None


def machine(data_dir, packages):
    """What a reader has to know about where the figures come from."""
    return {
        "cpu": _first("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "cores": os.cpu_count(),
        "memory_mb": int(_first("/proc/meminfo", r"^MemTotal:\s+(\d+)", "0")) // 1024,
        "kernel": platform.release(),
        "system": _first("/etc/os-release", r'^PRETTY_NAME="(.*)"$'),
        "virtual": "hypervisor" in _first("/proc/cpuinfo", r"^flags\s*:\s*(.*)$", ""),
        "data": filesystem(data_dir),
        "packages": {p: v for p in packages if (v := package_version(p))},
    }
