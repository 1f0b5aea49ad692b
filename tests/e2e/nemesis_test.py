#!/usr/bin/env python3
"""If this fails, an acknowledged change can be lost, done twice, seen too late or not told, when nodes of a real
cluster are killed, cut off from power or from each other, paused, or run out of disk. A sample: docs/nemesis.md
says how to run it for long."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..")]

from lib.case import Case, main, note  # noqa: E402

ROOT = os.path.join(HERE, "..", "..")
COMMAND = os.path.join(ROOT, "scripts", "nemesis")
RUNS = os.environ.get("WEFT_NEMESIS_RUNS", "8")
SEED = os.environ.get("WEFT_NEMESIS_SEED")
SKIPPED = 77


class Nemesis(Case):
    def run_it(self, *args, timeout=280):
        done = subprocess.run([COMMAND, *args], capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode == SKIPPED:
            self.skipTest(done.stderr.strip())
        return done

    def test_the_checks_find_what_is_planted(self):
        done = self.run_it("--selftest")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_histories_are_true(self):
        seed = ["--seed", SEED] if SEED else []
        done = self.run_it("--runs", RUNS, "--minutes", "0.2", *seed)
        print(done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for line in done.stdout.splitlines():
            if re.match("runs|faults|violations", line):
                note(line)


if __name__ == "__main__":
    main()
