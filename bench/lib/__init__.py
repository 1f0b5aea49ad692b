"""What the benchmarks share: samples of /proc, rows, peers, talking programs."""
