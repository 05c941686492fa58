"""The library without arbd: the same call over and over in a process pinned to one CPU before it imports anything.

python -m bench.bare_library LIBRARY CPU      each line on stdin is a number of seconds; answers calls per second
"""

from __future__ import annotations

import os
import sys
import time


def main(library: str, cpu: int) -> None:
    """Answer until the end of stdin."""
    os.sched_setaffinity(0, {cpu})
    from bench.libraries import WORK  # after the pin, that is the point

    work = WORK[library]()
    work()
    for line in sys.stdin:
        seconds = float(line)
        calls = 0
        begin = now = time.perf_counter()
        while now - begin < seconds:
            work()
            calls += 1
            now = time.perf_counter()
        print(calls / (now - begin), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
