"""Processes of a test: each with a log of its own, ended by pid, never outliving the test.

    with Workspace("failover") as ws:
        p = ws.spawn("n1", [weftd, "--name", "n1", …])
        p.kill()

Leaving the workspace ends what still runs. A process that ended on its own, or whose log shows a
sanitizer's report, fails the test. The directory is removed after success and kept after failure.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

# What no log of ours may hold, whatever the exit status says.
CRASH = re.compile(
    rb"(ERROR|WARNING): (Address|Leak|Thread)Sanitizer|runtime error: |weft: bug: |Segmentation fault")

# Lines of access logs: not what one looks for after a failure.
ACCESS = re.compile(r"\[20[0-9-]+T[0-9:.]+Z\] \"")


class Timeout(AssertionError):
    """A thing that a test waits for did not happen in time."""


def wait_for(fn, timeout=10.0, what="condition", every=0.02):
    """Polls fn until it returns something true, and returns that. An exception of the kinds that
    a process under way gives (connection refused, half an answer) counts as not yet."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = fn()
            if value:
                return value
            last = value
        except (OSError, ValueError, KeyError) as e:
            last = e
        except Exception as e:
            if type(e).__module__ != "http.client":
                raise
            last = e
        if time.monotonic() > deadline:
            raise Timeout(f"{what}: not within {timeout:g} s; last seen: {last!r}")
        time.sleep(every)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One program. argv may be changed before restart()."""

    def __init__(self, ws, name, argv, env=None, stdout=None):
        self.ws, self.name, self.argv, self.env, self.stdout = ws, name, list(argv), env, stdout
        self.log_path = os.path.join(ws.dir, name + ".log")
        self.popen = None
        self.killed = False
        self.ends_alone = False  # a program that ends by itself, as a load generator does

    def start(self):
        assert not self.alive(), self.name
        self.killed = False
        env = dict(os.environ, **(self.env or {}))
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                [str(a) for a in self.argv], stdin=subprocess.DEVNULL, stderr=log,
                stdout=self.stdout if self.stdout is not None else log, env=env, cwd=self.ws.dir,
                preexec_fn=_die_with_parent)
        return self

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def kill(self):
        """SIGKILL: what a power cut or the OOM killer does."""
        if self.alive():
            self.killed = True
            self.popen.kill()
            self.popen.wait()

    def stop(self, timeout=20):
        """SIGTERM, and the end must come, with status 0."""
        if not self.alive():
            return
        self.killed = True
        self.popen.terminate()
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.name}: SIGTERM did not end it within {timeout} s") from None
        assert code in (0, -signal.SIGTERM), f"{self.name}: ended with {code} at SIGTERM"

    def restart(self):
        self.kill()
        return self.start()

    def signal(self, number):
        self.popen.send_signal(number)

    def rss_kb(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return 0

    def log(self):
        try:
            with open(self.log_path, "rb") as f:
                return f.read()
        except OSError:
            return b""

    def problem(self):
        """What is wrong with how this process ended, or None."""
        found = CRASH.search(self.log())
        if found:
            return f"{self.name}: its log says {found.group().decode()!r}"
        if self.popen is None or self.killed or self.ends_alone or self.alive():
            return None
        return f"{self.name}: ended by itself with status {self.popen.returncode}"


class Workspace:
    """A directory and the processes of one test."""

    def __init__(self, name):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix=f"weft-{name}-")
        self.processes = []
        self.closers = []
        self.keep = False  # its logs, also when no process failed

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(failed=kind is not None and not _is_skip(kind))
        return False

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def spawn(self, name, argv, **kw):
        p = Process(self, name, argv, **kw)
        self.processes.append(p)
        return p.start()

    def on_close(self, fn):
        self.closers.append(fn)

    def check(self):
        """Fails if any process ended that should run, or complained."""
        problems = [p.problem() for p in self.processes]
        problems = [p for p in problems if p]
        assert not problems, "; ".join(problems)

    def close(self, failed=False):
        problems = [p.problem() for p in self.processes]
        for p in reversed(self.processes):
            try:
                p.stop()
            except AssertionError as e:
                problems.append(str(e))
        problems += [p.problem() for p in self.processes]
        for fn in self.closers:
            fn()
        problems = sorted({p for p in problems if p})
        if failed or problems or self.keep:
            self._show()
            print(f"-- kept: {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        if problems and not failed:
            raise AssertionError("; ".join(problems))

    def _show(self):
        for p in self.processes:
            tail = [line for line in p.log()[-200000:].decode("utf-8", "replace").splitlines()
                    if not ACCESS.match(line)][-25:]
            if tail:
                print(f"-- {p.name} (last lines)", file=sys.stderr)
                print("\n".join("   " + line[:300] for line in tail), file=sys.stderr)


def _is_skip(kind):
    import unittest
    return issubclass(kind, unittest.SkipTest)
