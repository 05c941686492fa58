"""Metrics while workers are killed, over and over: ``python -m bench.metrics_campaign [--kills N] [--workers N]``.

A daemon with its own hub in memory gets tasks without end; a worker that has just answered is killed by SIGKILL, again
and again, and /metrics is scraped all the while. What is checked: no counter, and no part of a histogram, ever fell or
went away; in the end the sums over all actions and outcomes are the verdicts that were given, which are the tasks that
were submitted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import urllib.request
from collections import deque
from contextlib import suppress
from typing import Any, Final

from arbd.core.lifecycle import State
from arbd.testing import RunningProvider, running
from bench.harness import ROOT

_AHEAD: Final = 40  # tasks under way for each worker
_SCRAPE_EVERY: Final = 20  # kills
_TELL_EVERY_S: Final = 10.0
_SETTLE_S: Final = 60.0

Series = dict[str, float]


def series_of(text: str) -> Series:
    """Every line that only grows: counters, and the parts of histograms."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    grows = ("_total", "_bucket", "_sum", "_count")
    return {name: float(value) for name, _, value in lines if name.partition("{")[0].endswith(grows)}


def scrape(address: str) -> Series:
    """What /metrics shows now."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return series_of(answer.read().decode())


def fallen(before: Series, after: Series) -> list[str]:
    """What has fallen, or is not there any more."""
    return [f"{name}: {value:g} -> {after.get(name)}" for name, value in before.items() if after.get(name, -1) < value]


def campaign(kills: int, workers: int) -> int:
    """The whole of it; the exit code."""
    target = ROOT / "bench" / "provider.py"
    settings: dict[str, Any] = {"workers": workers, "metrics_listen": "0", "log_level": "critical"}
    with running(target, **settings) as daemon:
        return _run(daemon, kills, workers)


def _run(daemon: RunningProvider, kills: int, workers: int) -> int:
    address = daemon.daemon.metrics_address
    under_way: deque[Any] = deque()
    killed: set[int] = set()
    before, scrapes, submitted, problems = scrape(address), 1, 0, list[str]()
    begun_at = told_at = time.monotonic()
    while len(killed) < kills and not problems:
        while len(under_way) < _AHEAD * workers:
            under_way.append(daemon.submit("nothing", {}))
            submitted += 1
        under_way.popleft().result(_SETTLE_S)
        for worker in list(daemon.daemon.pool.workers.values()):
            if worker.state is State.SERVING and worker.answered and worker.pid not in killed:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.add(worker.pid)
                    if len(killed) % _SCRAPE_EVERY == 0:
                        after = scrape(address)
                        problems += fallen(before, after)
                        before, scrapes = after, scrapes + 1
        if (now := time.monotonic()) - told_at > _TELL_EVERY_S:
            told_at = now
            print(f"{len(killed)} killed, {submitted} tasks, {scrapes} scrapes, {now - begun_at:.0f} s", flush=True)
    for handle in under_way:
        handle.result(_SETTLE_S)
    until, total = time.monotonic() + _SETTLE_S, -1.0
    while total != submitted and time.monotonic() < until:
        time.sleep(0.2)
        after = scrape(address)
        problems += fallen(before, after)
        before, scrapes = after, scrapes + 1
        total = sum(value for name, value in after.items() if name.startswith("arbd_tasks_total{"))
    if total != submitted:
        problems.append(f"{submitted} tasks were submitted and answered, and {total:g} are counted")
    print(f"{len(killed)} workers killed in {time.monotonic() - begun_at:.0f} s, {submitted} tasks, {scrapes} scrapes")
    print("\n".join(problems) or f"no counter ever fell; {total:g} tasks counted, {submitted} answered")
    return 1 if problems else 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics_campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10_000, help="workers to kill (default: 10,000)")
    parser.add_argument("--workers", type=int, default=2, help="workers of the daemon (default: 2)")
    arguments = parser.parse_args()
    sys.exit(campaign(arguments.kills, arguments.workers))


if __name__ == "__main__":
    main()
