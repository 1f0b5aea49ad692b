#!/usr/bin/env python3
"""If this fails, a reader who types what docs/use.md, operate.md or operate-members.md shows does not get what it shows."""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import default_bin_dir  # noqa: E402
from lib.process import CRASH  # noqa: E402

PATIENCE_S = 15  # until what is shown is there
COMMAND_S = 30  # one command; none of the document takes that long
RELEASE_BIN = os.path.join(ROOT, "build", "release", "bin")


def commands(path):
    """[(line, command, [output lines])] of all ```console blocks: "$ " begins a command, a backslash
    continues it, what follows is its output."""
    out, inside = [], False
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f.read().split("\n"), 1):
            if line.startswith("```"):
                inside = line == "```console"
            elif inside and line.startswith("$ "):
                out.append((number, line[2:], []))
            elif inside and out[-1][1].endswith("\\"):
                out[-1] = (out[-1][0], out[-1][1] + "\n" + line, [])
            elif inside:
                out[-1][2].append(line)
    return out


def matches(want, got):
    """… stands for anything in a line; alone, for any lines."""
    parts = ["(?:.*\n)*?" if w == "…" else ".*".join(map(re.escape, w.split("…"))) + "\n" for w in want]
    return re.fullmatch("".join(parts), got) is not None


class Shell:
    """One bash, to which commands are typed. What it starts in the background is of its process group."""

    def __init__(self, cwd, env):
        self.bash = subprocess.Popen(["bash"], cwd=cwd, env=env, text=True, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     start_new_session=True)

    def type(self, command):
        """Returns (exit status, output). A command that hangs takes the shell with it."""
        late = threading.Timer(COMMAND_S, self.kill)
        late.start()
        try:
            self.bash.stdin.write(f"{command}\necho \"-- end of command $?\"\n")
            self.bash.stdin.flush()
            out = ""
            for line in self.bash.stdout:
                end = re.fullmatch(r"-- end of command (\d+)\n", line)
                if end:
                    return int(end.group(1)), out
                out += line
        finally:
            late.cancel()
        raise AssertionError(f"the shell ended, or was ended after {COMMAND_S} s, in: {command}\n{out}")

    def kill(self):
        os.killpg(self.bash.pid, signal.SIGKILL)

    def close(self):
        self.kill()
        self.bash.wait()
        self.bash.stdin.close()
        self.bash.stdout.close()


class Docs(Case):
    @classmethod
    def begin(cls):
        if not shutil.which("curl"):
            raise unittest.SkipTest("curl is not installed")
        if os.path.realpath(default_bin_dir()) != os.path.realpath(RELEASE_BIN):
            raise unittest.SkipTest(f"the document runs {RELEASE_BIN}")

    def setUp(self):
        self.shell = Shell(ROOT, {**os.environ, "TMPDIR": self.ws.dir})
        self.addCleanup(self.shell.close)

    def follow(self, doc, number, command, want):
        """What shows something may need some tries until it does; the rest is done once. A status of
        0 and no word is also a promise."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, got = self.shell.type(command)
            if status == 0 and matches(want, got):
                return
            if not want or time.monotonic() > deadline:
                self.fail(f"docs/{doc}:{number}: {command}\nshows:\n" + "\n".join(want) +
                          f"\nbut here, with status {status}:\n{got}")
            time.sleep(0.2)

    def check_logs(self):
        """The document's programs write their logs to $TRY, a directory in ours."""
        logs = glob.glob(self.ws.path("*", "*.log"))
        self.assertGreaterEqual(len(logs), 5)
        for path in logs:
            with open(path, "rb") as f:
                found = CRASH.search(f.read())
            self.assertIsNone(found, f"{path}: its log says {found and found.group().decode()!r}")

    def follow_all(self, doc):
        shown = commands(os.path.join(ROOT, "docs", doc))
        self.assertTrue(shown[-1][1].startswith("rm "), "its last command ends with the logs")
        for number, command, want in shown[:-1]:
            self.follow(doc, number, command, want)
        self.check_logs()
        self.follow(doc, *shown[-1])
        note(f"{len(shown)} commands of docs/{doc} do what it shows")

    def test_use(self):
        self.follow_all("use.md")

    def test_operate(self):
        self.follow_all("operate.md")

    def test_operate_members(self):
        self.follow_all("operate-members.md")


if __name__ == "__main__":
    main()
