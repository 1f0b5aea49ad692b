"""Test programs: unittest with a workspace a class, named skips, one last line and one report line.

    class Splits(Case):
        @classmethod
        def begin(cls):
            cls.cluster = Cluster(ws=cls.ws).start()
        def test_…(self): …

    if __name__ == "__main__":
        main()

Exit status: 0 passed, 1 failed, 77 everything skipped. WEFT_TEST_REPORT names a file that gets one
JSON line a program; scripts/test adds them up."""

import json
import os
import sys
import time
import unittest

from .process import Workspace

SKIPPED = 77


class Case(unittest.TestCase):
    maxDiff = 4000
    failed = False

    @classmethod
    def setUpClass(cls):
        cls.failed = False
        cls.ws = Workspace(cls.__name__.lower())
        try:
            cls.begin()
        except BaseException as e:
            cls.ws.close(failed=not isinstance(e, unittest.SkipTest))
            raise

    @classmethod
    def begin(cls):
        """What all tests of the class share, as cls.something."""

    @classmethod
    def tearDownClass(cls):
        cls.ws.close(failed=cls.failed)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            type(self).failed = True
        return result

    def tearDown(self):
        self.ws.check()


class _Result(unittest.TextTestResult):
    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.passed, self.notes = 0, []

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)


def note(text):
    """A figure worth keeping: printed now."""
    print(f"  note: {text}", flush=True)


def main():
    program = os.path.basename(sys.argv[0])
    start = time.monotonic()
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=_Result)
    result = unittest.main(testRunner=runner, exit=False).result
    failed = len(result.failures) + len(result.errors)
    skipped = [(str(t), why) for t, why in result.skipped]
    for name, why in skipped:
        print(f"SKIPPED {name}: {why}")
    print(f"{program}: {result.passed} passed, {failed} failed, {len(skipped)} skipped "
          f"in {time.monotonic() - start:.0f} s", flush=True)
    report = os.environ.get("WEFT_TEST_REPORT")
    if report:
        with open(report, "a", encoding="utf-8") as f:
            f.write(json.dumps({"program": program, "passed": result.passed, "failed": failed,
                                "skipped": skipped, "seconds": time.monotonic() - start}) + "\n")
    if failed:
        sys.exit(1)
    sys.exit(SKIPPED if skipped and not result.passed else 0)
