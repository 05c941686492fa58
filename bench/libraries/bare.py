"""A library without arbd: the same call over and over in a process that was pinned before it imported anything.

python -m bench.libraries.bare LIBRARY CPU     each line on stdin is a number of calls; answers with a line of JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from arbd.settings import thread_variables


class Bare:
    """Bare processes, one on each of these CPUs, with one thread each."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def calls(self, count: int) -> list[dict[str, Any]]:
        """Let all of them make so many calls at the same time; what each call took and gave."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
        return [call for process in self._processes if process.stdout for call in json.loads(process.stdout.readline())]


@contextmanager
def started(library: str, cpus: Sequence[int], environ: dict[str, str]) -> Iterator[Bare]:
    """Bare processes that are ready to call."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.libraries.bare", library, str(cpu)],
            env={**environ, **thread_variables.missing(environ, 1)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for cpu in cpus
    ]
    try:
        yield Bare(processes)
    finally:
        for process in processes:
            process.communicate()


def main(library: str, cpu: int) -> None:
    """Answer until the end of stdin."""
    os.sched_setaffinity(0, {cpu})
    from bench.libraries.jobs import JOBS  # after the pin, that is the point

    call = JOBS[library].make(1)
    call()
    for line in sys.stdin:
        print(json.dumps([_one(call) for _ in range(int(line))]), flush=True)


def _one(call: Any) -> dict[str, Any]:
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    result = call()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"wall_ns": wall, "cpu_ns": cpu, "result": result}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
