#!/usr/bin/env python3
"""If this fails, the death of a control-plane node is something that users notice: a failed request, a lost
change, a proxy that is sent again what it had."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "chaos")]

from leader_kill import Scene, table  # noqa: E402
from lib.case import Case, main, note  # noqa: E402

TIMES = int(os.environ.get("WEFT_LEADER_KILLS", "5"))


class Failover(Case):
    def test_leader_dies(self):
        scene = Scene(self.ws)
        for _ in range(TIMES):
            scene.kill_leader()
        counts = scene.finish()
        for line in table(counts, TIMES).splitlines():
            note(line)
        self.assertEqual((counts["failed"], counts["failures"]), (0, []))
        self.assertEqual(counts["lost"], [])
        self.assertEqual(counts["refused"], [])
        self.assertEqual(counts["resent"], [])
        self.assertGreater(counts["writes"], 100)
        # Elections take 50 ms; what is left for a busy machine.
        self.assertLess(counts["p50_ms"], 1500)


if __name__ == "__main__":
    main()
