"""Two states of the code by turns in one run: ``python -m bench.versus CHECKOUT [--rounds N] [--only FIGURE ...]``.

``CHECKOUT`` is a directory with another state, such as ``git worktree add ../before COMMIT`` makes. Both run on the
interpreter, the packages, the hub and the client of this one, so all that differs is the daemon. The machine's speed
drifts by a factor of two within minutes: the ratio of the two in each round is what counts.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from arbd.host.procs import cpu_s
from bench.harness import ROOT, Stage

_PAUSE_S: Final = 0.002
_SAMPLE: Final = 20
_PAYLOAD: Final = {"symbol": "EURUSD", "quantity": 12.5, "tags": ["a", "b"]}
_UNARY_TASKS: Final = 2_000
_STREAM_TASKS: Final = 40_000

Sample = dict[str, float]  # by figure
Measure = Callable[[Stage, str, subprocess.Popen[bytes]], Sample]


class Comparison(msgspec.Struct, frozen=True):
    """What is measured of a daemon, and how it is set up."""

    measure: Measure
    protocol: str
    links: str = "0"


def _one_at_a_time(stage: Stage, name: str, _daemon: subprocess.Popen[bytes]) -> Sample:
    taken = []
    for _ in range(_SAMPLE):
        time.sleep(_PAUSE_S)
        taken.append(stage.run(name, "nothing", 1)[0].taken_s * 1e6)
    return {"unary, one task at a time, µs": statistics.median(taken)}


def _full_hub(stage: Stage, name: str, daemon: subprocess.Popen[bytes]) -> Sample:
    before = cpu_s(daemon.pid)
    rate = stage.rate(name, "nothing", _UNARY_TASKS)
    return {
        "unary, full hub, tasks/s": rate,
        "unary, full hub: supervisor, µs/task": (cpu_s(daemon.pid) - before) / _UNARY_TASKS * 1e6,
    }


def _with_links(stage: Stage, name: str, daemon: subprocess.Popen[bytes]) -> Sample:
    sample = _full_hub(stage, name, daemon)
    return {f"two links: {figure}": value for figure, value in sample.items()}


def _stream(stage: Stage, name: str, daemon: subprocess.Popen[bytes]) -> Sample:
    """The queue is full already, and this daemon has just been started."""
    _wait_below(stage, _STREAM_TASKS * 9 // 10)
    family = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]
    workers = [process.pid for process in family if process.name().startswith("arbd:worker")]
    begin, queued = time.perf_counter(), stage.stats()["queued"]
    used = [cpu_s(daemon.pid), sum(map(cpu_s, workers))]
    _wait_below(stage, _STREAM_TASKS // 10)
    tasks, took_s = queued - stage.stats()["queued"], time.perf_counter() - begin
    used = [after - before for before, after in zip(used, (cpu_s(daemon.pid), sum(map(cpu_s, workers))), strict=True)]
    _wait_below(stage, 0)
    return {
        "stream, full hub, tasks/s": tasks / took_s,
        "stream, full hub: supervisor, µs/task": used[0] / tasks * 1e6,
        "stream, full hub: workers, µs/task": used[1] / tasks * 1e6,
    }


def _wait_below(stage: Stage, queued: int) -> None:
    while stage.stats()["queued"] > queued:
        time.sleep(0.01)


_COMPARISONS: Final = {
    "latency": Comparison(_one_at_a_time, "unary"),
    "unary": Comparison(_full_hub, "unary"),
    "links": Comparison(_with_links, "unary", links="2"),
    "stream": Comparison(_stream, "stream"),
}


def compare(comparison: Comparison, sides: dict[str, Path], rounds: int) -> Iterator[dict[str, Sample]]:
    """One sample of each side for each round."""
    with Stage() as stage:
        for number in range(rounds):
            order = list(sides)[:: 1 if number % 2 else -1]
            yield {side: _sample(comparison, stage, side, sides[side]) for side in order}


def _sample(comparison: Comparison, stage: Stage, side: str, checkout: Path) -> Sample:
    if comparison.measure is _stream:
        stage.fill(side, "quote", _PAYLOAD, _STREAM_TASKS)
    protocol, links = comparison.protocol, comparison.links
    daemon = stage.arbd(side, "--workers", "2", protocol=protocol, checkout=checkout, hub_links=links)
    try:
        if comparison.measure is not _stream:
            stage.run(side, "nothing", 300)
        return comparison.measure(stage, side, daemon)
    finally:
        stage.end(daemon)


def table(pairs: Sequence[dict[str, Sample]]) -> Table:
    """Medians of both sides, and the ratio round by round with its quartiles."""
    shown = Table()
    for title in ("figure", "there", "here", "here / there"):
        shown.add_column(title, justify="left" if title == "figure" else "right")
    for figure in dict.fromkeys(itertools.chain.from_iterable(pair["here"] for pair in pairs)):
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
    arguments = parser.parse_args()
    there = arguments.checkout.resolve()
    if not (there / "arbd" / "__main__.py").is_file():
        parser.error(f"{there} is no checkout of arbd")
    if arguments.rounds < 2:
        parser.error("a spread needs at least two rounds")
    pairs: list[dict[str, Sample]] = []
    for name in arguments.only:
        pairs = list(compare(_COMPARISONS[name], {"there": there, "here": ROOT}, arguments.rounds))
        Console().print(table(pairs))


if __name__ == "__main__":
    main()
