"""The CPU action without arbd: the same function over and over in a process pinned to one CPU; prints calls per second.

python -m bench.bare_burn CPU ROUNDS SECONDS
"""

from __future__ import annotations

import os
import sys
import time

from bench.provider import burn


def main(cpu: int, rounds: int, seconds: float) -> float:
    """Calls per second."""
    os.sched_setaffinity(0, {cpu})
    calls = 0
    begin = now = time.perf_counter()
    while now - begin < seconds:
        burn(rounds)
        calls += 1
        now = time.perf_counter()
    return calls / (now - begin)


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
