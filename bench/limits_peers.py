"""The same limit, shared by processes, with arbd and with libraries people use: what a check costs, how exact it is.

    python -m bench.limits_peers [--seconds S]

Four processes try as often as they can against one window. Each notes how long every check took and when those that
passed returned. "over": starts that came more than a millisecond too early, by the clock of whoever started (a process
may be held up between its check and its clock, so zero tolerance would count the machine's noise). "used": starts, of
those that so many windows have places for.

pyrate-limiter shares by a ``multiprocessing`` manager or by SQLite; ``limits`` shares only through a server: here Redis
on a unix socket of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

import msgspec
import uvloop

from arbd.author.provider import Provider
from arbd.host import memory
from arbd.model.limit_spec import Rates
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.worker.limits.seats import Bells, WorkerLimits
from arbd.worker.numbers import Numbers
from bench.limits_rig import Place, Plan, Rig
from bench.redis_server import redis_server

RATES: Final = Rates(max_requests=1000, window_size=1.0)  # whole seconds: `limits` knows no others
PROCESSES: Final = 4
TOLERANCE_NS: Final = 1_000_000
_ROOM: Final = 2_000_000  # checks of one process
_PAUSE_S: Final = 0.0002  # after a refusal, for everybody

Check = Callable[[], bool]


class Row(msgspec.Struct, frozen=True):
    """One contender: microseconds of a check that passed and of one that did not, over and used as above."""

    name: str
    passed_us: float
    refused_us: float
    checks: int
    over: int
    used: float


class _Notes:
    """What one process notes, in memory that outlives it: a word per check, its time, negative if refused."""

    def __init__(self) -> None:
        self.took = memory.words_of(mmap.mmap(-1, 8 * (_ROOM + 1)))
        self.starts = memory.words_of(mmap.mmap(-1, 8 * (_ROOM + 1)))

    def try_until(self, end_ns: int, check: Check) -> None:
        clock, took, starts = time.monotonic_ns, self.took, self.starts
        checks = passed = 0
        while True:
            before = clock()
            if before >= end_ns or checks >= _ROOM:
                break
            may_start = check()
            after = clock()
            checks += 1
            took[checks] = (after - before) << 1 | may_start
            if may_start:
                passed += 1
                starts[passed] = after
            else:
                time.sleep(_PAUSE_S)
        took[0], starts[0] = checks, passed


def _row(name: str, notes: list[_Notes], began_ns: int, ended_ns: int) -> Row:
    took = [word for note in notes for word in note.took[1 : 1 + note.took[0]]]
    starts = sorted(word for note in notes for word in note.starts[1 : 1 + note.starts[0]])
    passed = [word >> 1 for word in took if word & 1] or [0]
    refused = [word >> 1 for word in took if not word & 1] or [0]
    most, window_ns = RATES.max_requests or 0, round((RATES.window_size or 0) * 1e9)
    over = sum(b - a < window_ns - TOLERANCE_NS for a, b in zip(starts, starts[most:], strict=False))
    windows = -(-(ended_ns - began_ns) // window_ns)  # the first is full of free places, and so is each that follows
    used = len(starts) / (windows * most)
    return Row(name, statistics.median(passed) / 1e3, statistics.median(refused) / 1e3, len(took), over, used)


def _race(name: str, make_check: Callable[[], Check], seconds: float) -> Row:
    """Processes forked from here, each with its own check."""
    notes = [_Notes() for _ in range(PROCESSES)]
    began_ns = time.monotonic_ns() + 200_000_000
    ended_ns = began_ns + round(seconds * 1e9)
    pids = []
    for note in notes:
        pid = os.fork()
        if pid == 0:
            try:
                check = make_check()
                time.sleep(max(0, began_ns - time.monotonic_ns()) / 1e9)
                note.try_until(ended_ns, check)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        pids.append(pid)
    for pid in pids:
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError(f"{name}: a process failed")
    return _row(name, notes, began_ns, ended_ns)


def arbd_row(seconds: float) -> Row:
    """Ours: the daemon's own ledger and reconciler."""
    notes = [_Notes() for _ in range(PROCESSES)]
    began_ns = time.monotonic_ns() + 300_000_000
    ended_ns = began_ns + round(seconds * 1e9)

    def work(plan: Plan, place: Place, monitor: LimitMonitor, limits_bell: int) -> None:
        bells = Bells(ask=limits_bell, answer=place.bell)
        WorkerLimits(place.words, Provider("rig"), Numbers([], ["limit"]), bells)
        take = monitor.gate.take
        time.sleep(max(0, began_ns - time.monotonic_ns()) / 1e9)
        notes[place.slot].try_until(ended_ns, lambda: take() == 0)
        time.sleep(60)

    async def main() -> None:
        rig = Rig(Plan(RATES, PROCESSES, seconds + 0.5), work)
        await rig.run()
        rig.limits.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return _row("arbd", notes, began_ns, ended_ns)


def pyrate_manager_row(seconds: float) -> Row:
    """pyrate-limiter, shared through a manager process."""
    from pyrate_limiter import Limiter, Rate
    from pyrate_limiter.buckets import MultiprocessBucket

    bucket: Any = MultiprocessBucket.init([Rate(RATES.max_requests or 0, round((RATES.window_size or 0) * 1000))])

    def make_check() -> Check:
        limiter: Any = Limiter(bucket)
        return lambda: bool(limiter.try_acquire("limit", blocking=False))

    return _race("pyrate-limiter, manager", make_check, seconds)


def pyrate_sqlite_row(seconds: float) -> Row:
    """pyrate-limiter, shared through a file of SQLite with a file lock."""
    from pyrate_limiter import Limiter, Rate
    from pyrate_limiter.buckets import SQLiteBucket

    with tempfile.TemporaryDirectory() as directory:

        def make_check() -> Check:
            rates = [Rate(RATES.max_requests or 0, round((RATES.window_size or 0) * 1000))]
            bucket: Any = SQLiteBucket.init_from_file(rates, db_path=f"{directory}/limits.db", use_file_lock=True)
            limiter: Any = Limiter(bucket)
            return lambda: bool(limiter.try_acquire("limit", blocking=False))

        return _race("pyrate-limiter, SQLite", make_check, seconds)


def limits_redis_row(seconds: float) -> Row:
    """limits, its moving window in Redis."""
    from limits import RateLimitItemPerSecond
    from limits.storage import storage_from_string
    from limits.strategies import MovingWindowRateLimiter

    with redis_server() as server:

        def make_check() -> Check:
            limiter = MovingWindowRateLimiter(storage_from_string(f"redis+{server.url}"))
            item = RateLimitItemPerSecond(round((RATES.max_requests or 0) / (RATES.window_size or 1)))
            return lambda: limiter.hit(item, "limit")

        return _race("limits, Redis (moving window)", make_check, seconds)


CONTENDERS: Final = (arbd_row, pyrate_manager_row, pyrate_sqlite_row, limits_redis_row)


def main() -> int:
    """Run them in turn; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{'':<32} {'passed, us':>10} {'refused, us':>11} {'checks':>8} {'over':>6} {'used':>8}")
    for contender in CONTENDERS:
        row = contender(options.seconds)
        print(
            f"{row.name:<32} {row.passed_us:>10.2f} {row.refused_us:>11.2f} {row.checks:>8} {row.over:>6} "
            f"{row.used:>8.2%}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
