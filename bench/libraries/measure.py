"""One library in one way: a daemon with some workers and as many bare processes on the same CPUs, by turns."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from arbd.settings.thread_variables import TABLE
from bench.harness import CpuUse, Stage
from bench.libraries import bare
from bench.libraries.jobs import JOBS
from bench.libraries.rows import Row, drawn_twice, is_same, round_of

PROVIDER: Final = "libraries/provider.py"
_WARM_CALLS: Final = 3  # of each worker: data is made, code compiled
_WARM_TRIES: Final = 50
_DRAWS: Final = 200
#: What a machine may tell OpenBLAS about its CPU: both sides find out for themselves.
_OF_THE_MACHINE: Final = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Effort(NamedTuple):
    """How many rounds there are, how many calls each worker and each bare process makes in one, and how many of these
    there are."""

    rounds: int
    calls: int
    workers: int = min(2, len(os.sched_getaffinity(0)))


def forget_threads() -> None:
    """Remove from this process's environment what would tell a library of threads: what an operator has who knows of
    none."""
    names = {name for variable in TABLE for name in (variable.name, *variable.falls_back_on)}
    for name in (*names, *_OF_THE_MACHINE):
        os.environ.pop(name, None)


def measure(library: str, way: str, effort: Effort, on_round: Callable[[], None]) -> Row:
    """Measure it; ``on_round`` is called after each round."""
    with Stage() as stage:
        flags = ("--workers", str(effort.workers), "--log-level", "warning", "--log-format", "json", "--", library, way)
        daemon = stage.arbd("arbd", *flags, protocol="stream", provider=PROVIDER)
        workers = _warm(stage, effort.workers)
        cpus = [worker["cpus"][0] for worker in workers]
        rounds, calls, right = [], [], []
        with bare.started(library, cpus, dict(os.environ)) as processes:
            before = CpuUse()
            for number in range(effort.rounds):
                sides = [
                    lambda: _calls(stage, "work", effort.calls * effort.workers),
                    lambda: processes.calls(effort.calls),
                ]
                if number % 2:
                    theirs, ours = sides[1](), sides[0]()
                else:
                    ours, theirs = sides[0](), sides[1]()
                rounds.append(round_of(ours, theirs))
                calls += ours
                right += theirs
                on_round()
            other_load = CpuUse().foreign_share_since(before)
        drawn, twice = drawn_twice(_calls(stage, "draw", _DRAWS))
        about = {one["pid"]: one for one in _calls(stage, "about", 10 * effort.workers)}
        stage.end(daemon)
        return Row(
            library=library,
            version=version(JOBS[library].package),
            way=way,
            by_exec=any(one["by_exec"] for one in about.values()),
            threads=max(one["threads"] for one in about.values()),
            rounds=rounds,
            calls=len(calls),
            wrong=sum(not is_same(call["result"], right[0]["result"]) for call in (*calls, *right)),
            drawn=drawn,
            drawn_twice=twice,
            notes=_warnings(daemon),
            other_load=other_load,
        )


def _calls(stage: Stage, action: str, count: int) -> list[dict[str, Any]]:
    return [result.response["data"] for result in stage.run("arbd", action, count)]


def _warm(stage: Stage, workers: int) -> list[dict[str, Any]]:
    """Call until every worker has done so a few times; the workers."""
    done: dict[int, int] = {}
    for _ in range(_WARM_TRIES):
        for call in _calls(stage, "work", 2 * workers):
            done[call["pid"]] = done.get(call["pid"], 0) + 1
        if len(done) >= workers and min(done.values()) >= _WARM_CALLS:
            break
    found = {one["pid"]: one for one in _calls(stage, "about", 10 * workers)}
    assert len(found) == workers, f"{len(found)} of {workers} workers take tasks"
    return list(found.values())


def _warnings(daemon: subprocess.Popen[bytes]) -> list[str]:
    """What it has logged as a warning or worse, after its end."""
    said: list[str] = []
    assert daemon.stderr is not None
    for line in daemon.stderr.read().decode(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            said.append(line)
            continue
        left_out = ("timestamp", "level", "logger", "role", "pid", "worker", "ts", "time")
        words = ", ".join(f"{name} {value}" for name, value in event.items() if name not in (*left_out, "event"))
        said.append(f"{event.get('event')}: {words}")
    return list(dict.fromkeys(said))
