#!/usr/bin/env python3
"""If these fail, a table of figures says better where it is worse."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from bench.lib import rows  # noqa: E402


class RowsTest(unittest.TestCase):
    def test_quantile_is_nearest_rank(self):
        ten = [7, 1, 10, 4, 3, 2, 9, 8, 6, 5]
        self.assertEqual(rows.quantile(ten, 0.5), 5)
        self.assertEqual(rows.quantile(ten, 0.9), 9)
        self.assertEqual(rows.quantile(ten, 0.99), 10)
        self.assertEqual(rows.quantile(range(1, 201), 0.99), 198)
        self.assertEqual(rows.quantile([3], 0.5), 3)

    def test_a_row_has_the_seven_fields(self):
        row = rows.median_row("x p50", "ms", [1, 9, 2], "etcd", [4, 5, 400])
        self.assertEqual(row.json(), {"name": "x p50", "unit": "ms", "ours": 2, "peer": "etcd",
                                      "peer_value": 5, "ratio": 0.4, "runs": 3})
        alone = rows.Row("x", "ms", 3.00004)
        self.assertEqual((alone.json()["peer"], alone.json()["ratio"]), ("-", None))
        self.assertIsNone(rows.Row("lost", "writes", 0, "etcd", 0).ratio)

    def test_a_goal_that_is_missed_says_so(self):
        def text(*args, **kw):
            return rows.Row("x", "u", *args, **kw).goal_text()
        self.assertTrue(text(15, goal=("value", 15)).endswith("yes"))
        self.assertTrue(text(15.1, goal=("value", 15)).endswith("NO"))
        self.assertTrue(text(9, "p", 10, goal=("ratio", 0.9)).endswith("yes"))
        self.assertTrue(text(9.1, "p", 10, goal=("ratio", 0.9)).endswith("NO"))
        self.assertTrue(text(19, "p", 10, goal=("ratio", 2, "min")).endswith("NO"))
        self.assertTrue(text(20, "p", 10, goal=("ratio", 2, "min")).endswith("yes"))
        self.assertEqual(text(7, "p", 6, goal=[("ratio", 1.3), ("value", 6)]),
                         "≤ x1.3 yes, ≤ 6 NO")


if __name__ == "__main__":
    unittest.main()
