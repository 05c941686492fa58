"""Two states of the code by turns in one run: ``python -m bench.versus CHECKOUT [--rounds N] [--only FIGURE ...]``.

``CHECKOUT`` is a directory with another state, such as ``git worktree add ../before COMMIT`` makes. Both run on the
interpreter, the packages, the hub and the client of this one, so all that differs is the daemon. The machine's speed
drifts by a factor of two within minutes: the ratio of the two in each round is what counts. ``--setting
metrics_listen=0`` and the like hold for this state's daemons alone: what a setting costs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from arbd.host.cpu_clock import used_s
from bench.family import Family, Spent, Use
from bench.harness import ROOT, Stage, rounds_of_burn

_PAUSE_S: Final = 0.002
_SAMPLE: Final = 20
_PAYLOAD: Final = {"symbol": "EURUSD", "quantity": 12.5, "tags": ["a", "b"]}
_UNARY_TASKS: Final = 2_000
_BURN_TASKS: Final = 400
_BURN_S: Final = 0.005
_STREAM_TASKS: Final = 40_000
_LOOK_S: Final = 0.01

Sample = dict[str, float]  # by figure


class Side(NamedTuple):
    """A checkout, and settings of its daemons beside those of the comparison."""

    checkout: Path
    settings: dict[str, str]


Sides = dict[str, Side]
Daemons = dict[str, subprocess.Popen[bytes]]


def _latency(sides: Sides, rounds: int) -> Iterator[dict[str, Sample]]:
    """One task at a time, the sides in no order that could be learnt: who comes next finds warm caches."""
    with Stage() as stage:
        _start(stage, sides, "unary")
        for _ in range(rounds):
            taken: dict[str, list[float]] = {side: [] for side in sides}
            for side in random.sample(list(sides) * _SAMPLE, len(sides) * _SAMPLE):
                time.sleep(_PAUSE_S)
                taken[side].append(stage.run(side, "nothing", 1)[0].taken_s * 1e6)
            yield {side: {"unary, one task at a time, µs": statistics.median(taken[side])} for side in sides}


def _unary(sides: Sides, rounds: int) -> Iterator[dict[str, Sample]]:
    return _full_unary_hub(sides, rounds, "unary", links="0")


def _links(sides: Sides, rounds: int) -> Iterator[dict[str, Sample]]:
    return _full_unary_hub(sides, rounds, "two links", links="2")


def _full_unary_hub(sides: Sides, rounds: int, what: str, links: str) -> Iterator[dict[str, Sample]]:
    with Stage() as stage:
        daemons = _start(stage, sides, "unary", hub_links=links)

        def sample(side: str) -> Sample:
            before = used_s(daemons[side].pid)
            rate = stage.rate(side, "nothing", _UNARY_TASKS)
            used_us = (used_s(daemons[side].pid) - before) / _UNARY_TASKS * 1e6
            return {f"{what}: tasks/s": rate, f"{what}: supervisor, µs/task": used_us}

        yield from _by_turns(sides, rounds, sample)


def _burn(sides: Sides, rounds: int) -> Iterator[dict[str, Sample]]:
    """CPU actions of 5 ms, over both protocols."""
    work = rounds_of_burn(_BURN_S)
    for protocol in ("unary", "stream"):
        with Stage() as stage:
            _start(stage, sides, protocol)

            def sample(side: str, stage: Stage = stage, protocol: str = protocol) -> Sample:
                return {f"5 ms of CPU, {protocol}: tasks/s": stage.rate(side, "burn", _BURN_TASKS, {"rounds": work})}

            yield from _by_turns(sides, rounds, sample)


def _stream(sides: Sides, rounds: int) -> Iterator[dict[str, Sample]]:
    """The queue is filled first, and a daemon started then: nothing else is submitted meanwhile."""
    with Stage() as stage:

        def sample(side: str) -> Sample:
            stage.fill(side, "quote", _PAYLOAD, _STREAM_TASKS)
            daemon = _start(stage, {side: sides[side]}, "stream", warm=False)[side]
            _wait_below(stage, _STREAM_TASKS * 9 // 10)
            family = Family(daemon.pid)
            first, queued = Use.of(family), stage.stats()["queued"]
            _wait_below(stage, _STREAM_TASKS // 10)
            spent, tasks = Spent.between(first, Use.of(family)), queued - stage.stats()["queued"]
            _wait_below(stage, 0)
            stage.end(daemon)
            return {
                "stream: tasks/s": tasks / spent.seconds,
                "stream: supervisor, µs/task": spent.cpu_s["supervisor"] / tasks * 1e6,
                "stream: workers, µs/task": spent.cpu_of_workers_s() / tasks * 1e6,
            }

        yield from _by_turns(sides, rounds, sample)


def _start(stage: Stage, sides: Sides, protocol: str, *, warm: bool = True, **settings: str) -> Daemons:
    daemons = {
        side: stage.arbd(
            side, "--workers", "2", protocol=protocol, checkout=there.checkout, **settings, **there.settings
        )
        for side, there in sides.items()
    }
    for side in sides if warm else ():
        stage.run(side, "nothing", 300)
    return daemons


def _by_turns(sides: Sides, rounds: int, sample: Callable[[str], Sample]) -> Iterator[dict[str, Sample]]:
    for number in range(rounds):
        order = list(sides)[:: 1 if number % 2 else -1]
        yield {side: sample(side) for side in order}


def _wait_below(stage: Stage, queued: int) -> None:
    while stage.stats()["queued"] > queued:
        time.sleep(_LOOK_S)


_COMPARISONS: Final = {"latency": _latency, "unary": _unary, "links": _links, "burn": _burn, "stream": _stream}


def table(pairs: Sequence[dict[str, Sample]]) -> Table:
    """Medians of both sides, and the ratio round by round with its quartiles."""
    shown = Table()
    for title in ("figure", "there", "here", "here / there"):
        shown.add_column(title, justify="left" if title == "figure" else "right")
    for figure in dict.fromkeys(figure for pair in pairs for figure in pair["here"]):
        of = {side: [pair[side][figure] for pair in pairs if figure in pair[side]] for side in ("there", "here")}
        low, middle, high = statistics.quantiles([a / b for a, b in zip(of["here"], of["there"], strict=True)], n=4)
        medians = (f"{statistics.median(of[side]):.4g}" for side in ("there", "here"))
        shown.add_row(figure, *medians, f"{middle:.2f} ({low:.2f}-{high:.2f})")
    return shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.versus", description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="a directory with the other state of the code")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each side (default: 9)")
    parser.add_argument("--only", nargs="+", choices=sorted(_COMPARISONS), default=list(_COMPARISONS))
    parser.add_argument(
        "--setting", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="for this state"
    )
    arguments = parser.parse_args()
    there = arguments.checkout.resolve()
    if not (there / "arbd" / "__main__.py").is_file():
        parser.error(f"{there} is no checkout of arbd")
    if arguments.rounds < 2:
        parser.error("a spread needs at least two rounds")
    sides = {"there": Side(there, {}), "here": Side(ROOT, dict(each.split("=", 1) for each in arguments.setting))}
    for name in arguments.only:
        Console().print(table(list(_COMPARISONS[name](sides, arguments.rounds))))


if __name__ == "__main__":
    main()
