#!/usr/bin/env python3
"""If this fails, a reader who types what docs/use.md shows does not get what it shows."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import default_bin_dir  # noqa: E402

PATIENCE_S = 15


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
    """One bash, to which commands are typed."""

    def __init__(self, cwd, env):
        self.bash = subprocess.Popen(["bash"], cwd=cwd, env=env, text=True, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     start_new_session=True)

    def type(self, command):
        self.bash.stdin.write(f"{command}\necho \"-- end of command\"\n")
        self.bash.stdin.flush()
        out = ""
        for line in self.bash.stdout:
            if line == "-- end of command\n":
                return out
            out += line
        raise AssertionError(f"the shell ended in: {command}\n{out}")

    def close(self):
        os.killpg(self.bash.pid, signal.SIGKILL)
        self.bash.wait()


class Docs(Case):
    @classmethod
    def begin(cls):
        if not shutil.which("curl"):
            raise unittest.SkipTest("curl is not installed")
        env = {**os.environ, "PATH": f"{os.path.abspath(default_bin_dir())}:{os.environ['PATH']}",
               "TMPDIR": cls.ws.path("")}
        cls.shell = Shell(ROOT, env)

    @classmethod
    def tearDownClass(cls):
        cls.shell.close()
        super().tearDownClass()

    def test_use(self):
        shown = commands(os.path.join(ROOT, "docs", "use.md"))
        for number, command, want in shown:
            deadline = time.monotonic() + PATIENCE_S
            while not matches(want, got := self.shell.type(command)) and want:
                if time.monotonic() > deadline:
                    self.fail(f"docs/use.md:{number}: {command}\nshows:\n" + "\n".join(want) +
                              f"\nbut here:\n{got}")
                time.sleep(0.2)
        note(f"{len(shown)} commands of docs/use.md do what it shows")


if __name__ == "__main__":
    main()
