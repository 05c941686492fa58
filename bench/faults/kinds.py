"""The faults of a campaign, each from its beginning to its end. When and which: ``bench.faults.plan``.

What a fault has changed it puts back, whatever happens meanwhile. Processes that it ends, or stops for so long that
somebody else may end them, are noted in ``Done.killed``: they explain errors.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import psutil

from bench.faults import daemon as daemons
from bench.faults.daemon import Daemon, lives, send
from bench.faults.plan import Fault

LIMITED_S: Final = 1.0
BROKEN_S: Final = 1.0
STALLED_S: Final = {"full": 3.0, "full for long": 12.0}
STOPPED_S: Final = 3.0
COPE_S: Final = 20.0
"""A zygote that is stopped for good is replaced within this time, once a worker is missing."""
_HUNG_S: Final = 3.0
_NEWBORN_S: Final = 0.3
_POLL_S: Final = 0.05

_RAISES: Final = 'raise RuntimeError("the campaign has broken this import")\n'
_HANGS: Final = "import time; time.sleep({seconds})\n"


class Done(msgspec.Struct):
    """What was done so far: how often each fault (``missed``: it found nobody), whom it ended or might have, who is to
    stay stopped, and what the daemon did not get over."""

    counts: dict[str, int] = {}
    missed: dict[str, int] = {}
    killed: set[int] = set()
    stopped: set[int] = set()
    broken: list[str] = []


async def inject(fault: Fault, daemon: Daemon, done: Done) -> None:
    """Let a fault happen, from its beginning to its end."""
    try:
        await _KINDS[fault.kind](fault.variant, daemon, random.Random(fault.dice), done)
    except (psutil.NoSuchProcess, IndexError):  # there was nobody to do it to: the daemon is just starting again
        done.missed[fault.words] = done.missed.get(fault.words, 0) + 1
    else:
        done.counts[fault.words] = done.counts.get(fault.words, 0) + 1


async def _descriptors(variant: str, daemon: Daemon, chance: random.Random, done: Done) -> None:
    role, _, killed = variant.partition(", ")
    victim = _one_of(daemon, role, chance)
    limit = daemons.no_more_descriptors(victim, chance.randrange(3))
    try:
        if role == "zygote" or killed == "worker killed":
            _kill_one(daemon, "worker", chance, done)
        elif killed == "zygote killed":
            _kill_one(daemon, "zygote", chance, done)
        await asyncio.sleep(LIMITED_S)
    finally:
        limit.restore(daemon.family())


async def _processes(variant: str, daemon: Daemon, chance: random.Random, done: Done) -> None:
    limit = daemons.no_more_processes(_one_of(daemon, variant, chance))
    try:
        _kill_one(daemon, "worker" if variant == "zygote" else "zygote", chance, done)
        await asyncio.sleep(LIMITED_S)
    finally:
        limit.restore(daemon.family())


async def _log_pipe(variant: str, daemon: Daemon, __: random.Random, ___: Done) -> None:
    daemon.stall_log()
    try:
        await asyncio.sleep(STALLED_S[variant])
    finally:
        daemon.resume_log()


async def _runtime_directory(_: str, daemon: Daemon, __: random.Random, ___: Done) -> None:
    shutil.rmtree(daemon.runtime_dir, ignore_errors=True)


async def _zygote_killed(_: str, daemon: Daemon, chance: random.Random, done: Done) -> None:
    _kill_one(daemon, "zygote", chance, done)


async def _zygote_stopped(variant: str, daemon: Daemon, chance: random.Random, done: Done) -> None:
    zygote = chance.choice(daemon.all_of("zygote"))
    done.killed.add(zygote.pid)  # whoever gives it up kills it, and its workers with it
    zygote.suspend()
    if variant == "for good":
        done.stopped.add(zygote.pid)
        worker = chance.choice([each for each in zygote.children() if lives(each)])
        _kill(worker, done)
        await _until_complete(daemon, done)
        done.stopped.discard(zygote.pid)
    else:
        await asyncio.sleep(STOPPED_S)
    if zygote.pid not in done.stopped:
        send(zygote, signal.SIGCONT)


async def _until_complete(daemon: Daemon, done: Done) -> None:
    """Wait until somebody has taken the place of every worker that is missing."""
    give_up_at = time.monotonic() + COPE_S
    while len([each for each in daemon.all_of("worker") if lives(each)]) < daemon.workers:
        if time.monotonic() > give_up_at:
            done.broken.append(f"a worker whose zygote was stopped was not replaced within {COPE_S:g} s")
            return
        await asyncio.sleep(_POLL_S)


async def _worker_killed(variant: str, daemon: Daemon, chance: random.Random, done: Done) -> None:
    if variant == "one":
        _kill_one(daemon, "worker", chance, done)
        return
    for worker in daemon.all_of("worker"):
        _kill(worker, done)


async def _import(variant: str, daemon: Daemon, chance: random.Random, done: Done) -> None:
    how, _, when = variant.partition(" ")
    after_kill = when == "after a kill"
    # Without workers nothing can be done before the import has ended, so that one ends.
    hangs = _HANGS.format(seconds=_HUNG_S if after_kill else 3600)
    daemon.write_provider(_RAISES if how == "raises" else hangs)
    try:
        if after_kill:
            _kill_one(daemon, "zygote", chance, done)
        else:
            _reload(daemon)
        await asyncio.sleep(BROKEN_S)
    finally:
        daemon.write_provider()
    _reload(daemon)


async def _sighup(_: str, daemon: Daemon, chance: random.Random, __: Done) -> None:
    for _number in range(chance.randint(5, 50)):
        _reload(daemon)
        await asyncio.sleep(chance.random() * 0.01)


def _reload(daemon: Daemon) -> None:
    """SIGHUP; but not in the first moments of a process, when no line of Python runs that could be ready for it."""
    supervisor = daemon.supervisor
    if time.time() > supervisor.create_time() + _NEWBORN_S:
        send(supervisor, signal.SIGHUP)


def _one_of(daemon: Daemon, role: str, chance: random.Random) -> psutil.Process:
    return daemon.supervisor if role == "supervisor" else chance.choice(daemon.all_of(role))


def _kill_one(daemon: Daemon, role: str, chance: random.Random, done: Done) -> None:
    _kill(chance.choice(daemon.all_of(role)), done)


def _kill(process: psutil.Process, done: Done) -> None:
    done.killed.add(process.pid)
    send(process, signal.SIGKILL)


_KINDS: Final[dict[str, Callable[[str, Daemon, random.Random, Done], Awaitable[None]]]] = {
    "descriptors": _descriptors,
    "processes": _processes,
    "log pipe": _log_pipe,
    "runtime directory": _runtime_directory,
    "zygote killed": _zygote_killed,
    "zygote stopped": _zygote_stopped,
    "worker killed": _worker_killed,
    "import": _import,
    "SIGHUP": _sighup,
}
