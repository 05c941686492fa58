"""CPU work of a known amount, and bare processes that do nothing else.

    python -m bench.peers.burn CPU ROUNDS SECONDS        prints calls per second

It imports no package, so that the workers of every peer can run the very function that the bare processes run.
(``bench.provider`` has one of its own: it is loaded by its path, where ``bench`` is no package to import from.)
"""

from __future__ import annotations

import os
import sys
import time


def burn(rounds: int) -> int:
    """Pure Python work."""
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 65_521
    return total


def bare_rate(cpu: int, rounds: int, span_s: float) -> float:
    """Calls per second of this process, bound to one CPU."""
    os.sched_setaffinity(0, {cpu})
    calls = 0
    begin = now = time.perf_counter()
    while now - begin < span_s:
        burn(rounds)
        calls += 1
        now = time.perf_counter()
    return calls / (now - begin)


if __name__ == "__main__":
    print(bare_rate(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
