"""Whether ``arbd bench`` is right: ``python -m bench.tuning_campaign recommend | unchanged | slower``.

    recommend     what it recommends for four known actions, against the best of a grid that is tried by hand
    unchanged     N runs of --against between equal builds: how many say that something differs
    slower        N runs from a copy of this build in which every task takes longer: how many say that it is slower

Nothing else may run meanwhile: ``recommend`` takes about 10 minutes for each action on two cores, the others 2.5
minutes for each run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.harness import ROOT

_PROVIDER: Final = str(ROOT / "bench" / "tuning_provider.py")
_ACTIONS: Final = ("cpu_5ms", "cpu_200us", "sleep_20ms", "mixed_12ms")
_BY_HAND: Final = "1,2,3,4,6,8,12,16,24,32,48,64,96,128,192,256,384,512"
_COMPUTING: Final = "1,2,3,4,6,8"
_TURNS: Final = 7
_LONGER_S: Final = 0.0009  # beside the 5 ms of the action and what a task costs: 15 %
# Appended to a copy of the worker's `execute`: every task computes for a while before it begins.
_SLOWER: Final = """

def _slowly(plain, seconds):
    import time

    def execute(*arguments, **named):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        return plain(*arguments, **named)

    return execute


execute = _slowly(execute, {seconds})
"""
Document = dict[str, Any]


def _bench(*arguments: str, code: Path = ROOT) -> Document:
    """One run of ``arbd bench``, as JSON."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "arbd", "bench", *arguments, "--json"],
        env={**os.environ, "PYTHONPATH": str(code)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: Document = json.loads(done.stdout)
    return found


def _rates(found: Document) -> dict[str, float]:
    """The median tasks/s of every point."""
    return {
        json.dumps(each["point"]): statistics.median(s["tasks"] / s["window_s"] for s in each["samples"])
        for each in found["record"]["measurements"]
        if each["samples"]
    }


def _options(point: Document) -> dict[str, str]:
    shown = {name: point[name] for name in ("workers", "prefetch", "protocol", "links")}
    return {**{name: str(value) for name, value in shown.items()}, "pin": "on" if point["pin"] else "off"}


def _by_turns(action: str, points: Sequence[Document]) -> list[float]:
    """The median tasks/s of each of these points, measured by turns."""
    rates: list[list[float]] = [[] for _ in points]
    for _ in range(_TURNS):
        for point, found in zip(points, rates, strict=True):
            flat = [part for name, value in _options(point).items() for part in (f"--{name}", value)]
            (rate,) = _rates(_bench(_PROVIDER, action, *flat, "--repeat", "1")).values()
            found.append(rate)
    return [statistics.median(found) for found in rates]


def recommend(actions: Sequence[str]) -> Table:
    """What is recommended against the best by hand; both measured again, in turn, at the end."""
    shown = Table("action", "recommended", "best by hand", "tasks/s", "by hand", "share")
    for action in actions:
        found = _bench(_PROVIDER, action)["recommendation"]["point"]
        workers = _COMPUTING if action.startswith("cpu") else _BY_HAND
        grid = ["--workers", workers, "--pin", "on,off", "--prefetch", "16,256", "--protocol", "stream", "--full"]
        rates = _rates(_bench(_PROVIDER, action, *grid, "--repeat", "2", "--duration", "1"))
        best = json.loads(max(rates, key=rates.__getitem__))
        mine, theirs = _by_turns(action, (found, best))
        names = [" ".join(f"{name} {value}" for name, value in _options(point).items()) for point in (found, best)]
        shown.add_row(action, *names, f"{mine:,.4g}", f"{theirs:,.4g}", f"{mine / theirs:.2f}")
        Console(stderr=True).print(shown)
    return shown


def slower_copy(place: Path, seconds: float) -> Path:
    """Copy this code to ``place``, with so much longer for every task."""
    shutil.copytree(ROOT / "arbd", place / "arbd", ignore=shutil.ignore_patterns("__pycache__"))
    if seconds:
        with (place / "arbd" / "worker" / "execute.py").open("a") as source:
            source.write(_SLOWER.replace("{seconds}", str(seconds)))
    return place


def compare_builds(runs: int, *, seconds: float) -> Table:
    """Runs of ``--against`` from a copy of this build in which every task takes so much longer."""
    shown = Table("run", "here / there", "p", "alone, here / there", "p", "says")
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="arbd-slower-") as place:
        code = slower_copy(Path(place), seconds)
        for number in range(1, runs + 1):
            found = _bench(_PROVIDER, "cpu_5ms", "--protocol", "stream", "--against", str(ROOT), code=code)
            verdicts = [row["verdict"] for row in found["rows"]]
            said = next((verdict for verdict in verdicts if verdict in ("slower", "faster")), verdicts[0])
            counts[said] = counts.get(said, 0) + 1
            figures = [text for row in found["rows"] for text in (f"{row['ratio']:.3f}", f"{row['p']:.4f}")]
            shown.add_row(str(number), *figures, said)
    shown.caption = ", ".join(f"{count} of {runs}: {said}" for said, count in counts.items())
    return shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.tuning_campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("recommend", "unchanged", "slower"))
    parser.add_argument("--runs", type=int, default=20, help="of --against (default: 20)")
    parser.add_argument("--only", nargs="+", choices=_ACTIONS, default=list(_ACTIONS), help="of the known actions")
    arguments = parser.parse_args()
    if arguments.what == "recommend":
        Console().print(recommend(arguments.only))
    else:
        Console().print(compare_builds(arguments.runs, seconds=_LONGER_S if arguments.what == "slower" else 0.0))


if __name__ == "__main__":
    main()
