"""Rows: what a benchmark gives, as a table for people and as JSON."""

import statistics

FIELDS = ("name", "unit", "ours", "peer", "peer_value", "ratio", "runs")


class Row:
    """One figure. ratio = ours / peer_value, where there is a peer; runs: how many measurements
    stand behind it. goal is a bound in the project's own plan, for the table: ("value", 10) or
    ("ratio", 0.9), at most; a third element "min" turns it round. Or a list of such."""

    def __init__(self, name, unit, ours, peer="-", peer_value=None, runs=1, goal=None, samples=None):
        self.name, self.unit, self.ours, self.runs = name, unit, ours, runs
        self.peer, self.peer_value = peer, peer_value
        self.ratio = ours / peer_value if peer_value else None
        self.goal, self.samples = goal, samples

    def json(self):
        out = {}
        for f in FIELDS:
            v = getattr(self, f)
            out[f] = round(v, 4) if isinstance(v, float) else v
        return out

    def goal_text(self):
        if isinstance(self.goal, list):
            return ", ".join(self._one_goal(g) for g in self.goal)
        return self._one_goal(self.goal) if self.goal else ""

    def _one_goal(self, goal):
        kind, bound, *least = goal
        value = self.ratio if kind == "ratio" else self.ours
        met = value is not None and (value >= bound if least else value <= bound)
        sign = "≥" if least else "≤"
        return f"{sign} {'x' if kind == 'ratio' else ''}{bound:g} {'yes' if met else 'NO'}"


def median_row(name, unit, ours, peer="-", peers=None, goal=None):
    """Row of the medians of two lists of measurements."""
    samples = {"ours": ours}
    if peers:
        samples["peer"] = peers
    return Row(name, unit, statistics.median(ours), peer,
               statistics.median(peers) if peers else None, len(ours), goal, samples)


def quantile(values, q):
    """Nearest rank: with 10 values, p99 is the largest."""
    v = sorted(values)
    return v[min(len(v) - 1, max(0, -(-int(q * 1000) * len(v) // 1000) - 1))]


def number(v):
    if v is None:
        return "-"
    if isinstance(v, int) or v == 0 or abs(v) >= 1000:
        return f"{v:.0f}"
    return f"{v:.3g}" if abs(v) < 1 else f"{v:.2f}" if abs(v) < 100 else f"{v:.1f}"


def table(rows):
    head = ("row", "unit", "ours", "peer", "its value", "ratio", "runs", "goal")
    body = [(r.name, r.unit, number(r.ours), r.peer, number(r.peer_value), number(r.ratio),
             str(r.runs), r.goal_text()) for r in rows]
    wide = [max(len(line[i]) for line in [head] + body) for i in range(len(head))]
    left = (0, 1, 3, 7)
    return "\n".join("  ".join(c.ljust(w) if i in left else c.rjust(w)
                               for i, (c, w) in enumerate(zip(line, wide))).rstrip()
                     for line in [head] + body)
