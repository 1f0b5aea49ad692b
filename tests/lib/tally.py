#!/usr/bin/env python3
"""Adds up what a run of ctest did, by test case where a program tells its cases.

    tally.py CTEST_OUTPUT LAST_TEST_LOG [REPORT]

Prints what failed and what was skipped, by name, then one line "PASSED FAILED SKIPPED". Cases come from
cmocka's own summary in LastTest.log and from the JSON lines of WEFT_TEST_REPORT (tests/lib/case.py); a
program that died without telling counts as one."""

import json
import os
import re
import sys

VERDICT = re.compile(r"^\s*\d+/\d+ Test\s+#\d+: (\S+) \.+\s*(.*?)\s+[\d.]+ sec", re.M)
OUTPUT = re.compile(r"^\d+/\d+ Testing: (\S+)$", re.M)
CASES = re.compile(r"\[  (PASSED|FAILED|SKIPPED) \s*\] (?:Test Program|(\d+) test\(s\))")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def cmocka_cases(output):
    """{"PASSED": n, …} of a program's output; {} when it is no cmocka program."""
    return {kind: int(n) for kind, n in CASES.findall(output) if n}


def tally(ctest, last, report):
    parts = OUTPUT.split(read(last))
    outputs = dict(zip(parts[1::2], parts[2::2]))
    told = {}
    for line in read(report).splitlines():
        one = json.loads(line)
        told["e2e." + one["program"].removesuffix("_test.py")] = one
    passed, failed, skipped = 0, [], []
    for name, verdict in VERDICT.findall(ctest):
        ok = verdict == "Passed"
        if name in told:
            one = told[name]
            passed += one["passed"]
            failed += [name] * max(one["failed"], 0 if ok or "Skipped" in verdict else 1)
            skipped += [f"{name}: {case}: {why}" for case, why in one["skipped"]]
        elif "Skipped" in verdict:
            why = [x for x in outputs.get(name, "").splitlines() if "skip" in x.lower()]
            skipped.append(f"{name}: {why[-1].strip() if why else 'says why in its output'}")
        else:
            cases = cmocka_cases(outputs.get(name, ""))
            passed += cases.get("PASSED", 1 if ok else 0)
            failed += [name] * max(cases.get("FAILED", 0), 0 if ok else 1)
            skipped += [f"{name}: a case"] * cases.get("SKIPPED", 0)
    return passed, failed, skipped


def main():
    ctest, last = read(sys.argv[1]), sys.argv[2]
    passed, failed, skipped = tally(ctest, last, sys.argv[3] if len(sys.argv) > 3 else os.devnull)
    for name in sorted(set(failed)):
        print(f"FAILED: {name}")
    for name in skipped:
        print(f"skipped: {name}")
    print(passed, len(failed), len(skipped))


if __name__ == "__main__":
    main()
