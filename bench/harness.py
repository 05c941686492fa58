"""What the benchmarks share: a stage to run both sides on, rounds that alternate, and figures with their goals.

    Stage    one hub in a process of its own; beside it the real daemon and bare clients, each under its own name
    Figure   one row of the table: samples, goal, and whether it is met

The sides of a comparison take turns on the same hub in the same run, because on a shared machine absolute numbers move
by 20-40 % from minute to minute. Only one side has tasks at any time; the other waits in polls that the hub holds.
No process is pinned here: hub and bare clients go where the kernel puts them, on either side of a comparison.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import psutil
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.hub.board import NewTask, Result
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from bench.provider import burn

# ARBD_... are settings of the daemon, which refuses names it does not know: this one must not reach it.
T = TypeVar("T")

SMOKE: Final = os.environ.pop("ARBD_BENCH_SMOKE", "") not in ("", "0")
ROOT: Final = Path(__file__).resolve().parent.parent
_BATCH_POLL_S: Final = 0.05  # asking the hub how far it is costs it CPU, so not too often
_STOP_TIMEOUT_S: Final = 15.0
_CALM_SHARE: Final = 0.05  # of all CPUs, by others: what is measured differs by more than that anyway
_PATIENCE_S: Final = 45.0  # for one figure, with the rounds that were thrown away
_FOREIGN: Final = "other load, % of all CPUs"
_SANE: Final = 2.0  # a ratio below half its goal is not noise
_SANE_TIME: Final = 8.0  # times suffer more from a busy machine than ratios do
_CROWDED_SHARE: Final = 0.15
_CROWDED: Final = 4.0


def rounds(full: int, smoke: int = 1) -> int:
    """How many rounds: many for a figure, next to none to see that it runs."""
    return smoke if SMOKE else full


class Figure(msgspec.Struct):
    """One measured quantity: ``value`` is the given quantile of its samples; the goal is a least or a most."""

    what: str
    unit: str
    kind: Literal["at least", "at most"]
    goal: float
    samples: list[float]
    quantile: float = 0.5
    beside: dict[str, float] = {}

    def at(self, quantile: float) -> float:
        """A quantile of the samples: the sample of that rank, or the median proper."""
        if quantile == 0.5:
            return statistics.median(self.samples)
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    @property
    def value(self) -> float:
        return self.at(self.quantile)

    def is_within(self, factor: float) -> bool:
        """Whether the value is not worse than the goal by more than this factor."""
        return self.value * factor >= self.goal if self.kind == "at least" else self.value <= self.goal * factor


FIGURES: Final[list[Figure]] = []
"""Everything measured in this run, for the table at its end."""


def conclude(benchmark: BenchmarkFixture, figure: Figure) -> None:
    """Note a figure, and fail where it cannot be noise. A goal that is just missed is reported, not failed.

    On a crowded machine much more is noise.
    """
    figure.beside[_FOREIGN] = benchmark.extra_info[_FOREIGN]
    FIGURES.append(figure)
    benchmark.extra_info[figure.what] = {
        "value": figure.value,
        "unit": figure.unit,
        "quartiles": [figure.at(0.25), figure.at(0.75)],
        "samples": len(figure.samples),
        "goal": f"{figure.kind} {figure.goal:g}",
        "met": figure.is_within(1),
        **figure.beside,
    }
    factor = _SANE if figure.kind == "at least" else _SANE_TIME
    if figure.beside[_FOREIGN] > 100 * _CROWDED_SHARE:
        factor *= _CROWDED
    assert figure.is_within(factor), f"{figure.what}: {figure.value:.3g} {figure.unit} is far from its goal"


def facts() -> dict[str, str]:
    """The machine, as far as it matters for the figures."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?: ?")
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} x {model.partition(':')[2].strip()}",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        **{package: version(package) for package in ("grpcio", "uvloop", "msgspec")},
    }


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all its descendants, those that ended included."""
    root = psutil.Process(pid)
    times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
    return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))


class Stage:
    """A hub, whoever serves it, and a client that submits tasks to one of them by name. A context manager; ``hub`` are
    options of the hub (``HubOptions``)."""

    def __init__(self, **hub: Any) -> None:
        self._options = {"keep_finished": 20_000, **hub}

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.hub = stack.enter_context(HubProcess(**self._options))
            self._runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            self._client: HubClient = self._runner.run(self._connect())
            stack.callback(lambda: self._runner.run(self._client.close()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def _connect(self) -> HubClient:
        return HubClient(self.hub.address, timeout_s=30)

    def bare(self, name: str, in_flight: int) -> subprocess.Popen[bytes]:
        """Start a client that is nothing but its calls; see ``bench.bare``."""
        return self._start("bench.bare", self.hub.address, name, str(in_flight))

    def minimum(self, name: str, protocol: str, address: str = "") -> subprocess.Popen[bytes]:
        """Start the least there can be with a worker process; see ``bench.minimum``. ``address``: of another hub."""
        return self._start("bench.minimum", protocol, address or self.hub.address, name)

    def arbd(
        self,
        name: str,
        *flags: str,
        protocol: str,
        provider: str = "provider.py",
        checkout: Path = ROOT,
        address: str = "",
        **settings: str,
    ) -> subprocess.Popen[bytes]:
        """Start the real daemon with a provider of the benchmarks; stderr is a pipe if it logs for the benchmark.

        ``protocol`` has no default: left to itself the daemon takes the stream, and a figure must say which it is.
        ``settings`` are those without a flag, such as ``kill_grace``; ``checkout`` is where the code is taken from;
        ``address`` that of another hub.
        """
        place = str(checkout / "bench" / provider)
        variables = {f"ARBD_{key.upper()}": value for key, value in {"hub_protocol": protocol, **settings}.items()}
        logs = "--log-level" in flags
        level = () if logs else ("--log-level", "error")
        return self._start(
            *("arbd", "run", place, "--hub", address or self.hub.address, "--name", name, *level, *flags),
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), **variables},
            stderr=subprocess.PIPE if logs else None,
        )

    def _start(self, module: str, *arguments: str, cwd: Path = ROOT, **popen: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=cwd, **popen)
        self._stack.callback(_stop, process)
        return process

    def run(self, provider: str, action: str, count: int, payload: object = None) -> list[Result]:
        """Submit ``count`` equal tasks to one provider, wait for all of them, and return their results."""
        data = b"{}" if payload is None else json.dumps(payload).encode()
        results = self._runner.run(self._run([NewTask(action, data, provider=provider)] * count))
        failed = [result for result in results if result.status != "success"]
        assert not failed, f"{len(failed)} of {count} tasks failed; the first: {failed[0].response}"
        return results

    async def _run(self, tasks: Sequence[NewTask]) -> list[Result]:
        batch = await self._client.submit(tasks)
        while len(tasks) > 1:  # a stream of results would have the hub write one message for each of them
            await asyncio.sleep(_BATCH_POLL_S)
            stats = await self._client.stats()
            if not stats["queued"] and not stats["leased"]:
                break
        return [result async for result in self._client.results(batch.name)]

    def rate(self, provider: str, action: str, count: int, payload: object = None) -> float:
        """Tasks per second by the hub's own clock, in the middle four fifths: a full queue, no ramp, no tail."""
        taken_s = sorted(result.taken_s for result in self.run(provider, action, count, payload))
        first, last = count // 10, count * 9 // 10
        return (last - first) / (taken_s[last] - taken_s[first])

    def unary_results(self) -> int:
        """How many results the hub was ever sent by a call of their own."""
        return self._runner.run(self._client.stats()).get("SubmitTaskResult", 0)

    def stats(self) -> dict[str, int]:
        """The hub's counters."""
        return self._runner.run(self._client.stats())

    def fill(self, provider: str, action: str | Sequence[str], payload: object, count: int) -> None:
        """Submit so many tasks to a provider that is not there yet: equal ones, or of these actions in turn."""
        data = json.dumps(payload).encode()
        actions = [action] if isinstance(action, str) else action
        kinds = [NewTask(name, data, provider=provider) for name in actions]
        self._runner.run(self._client.submit(islice(cycle(kinds), count)))

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """Stop something that was started here, before the stage ends."""
        _stop(process)

    def submit_only(self, provider: str, action: str, payload: object) -> None:
        """Submit one task, and do not wait for it."""
        self._runner.run(self._client.submit([NewTask(action, json.dumps(payload).encode(), provider=provider)]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def alternate(benchmark: BenchmarkFixture, count: int, *sides: Callable[[], T]) -> list[list[T]]:
    """Let the sides take turns ``count`` times, each time in another order; the samples of each side.

    A round in which others took CPU is thrown away and made again, within limits: foreign load does not hit both sides
    alike. The side with more processes gets the larger share of a crowded CPU, so arbd would look too good.
    """
    samples: list[list[T]] = [[] for _ in sides]
    numbers = list(range(len(sides)))
    foreign: list[float] = []
    give_up_at = time.monotonic() + (0 if SMOKE else _PATIENCE_S)

    def one_round() -> None:
        while True:
            before = CpuUse()
            taken = {number: sides[number]() for number in numbers}
            share = CpuUse().foreign_share_since(before)
            if share < _CALM_SHARE or time.monotonic() > give_up_at:
                break
        foreign.append(share)
        for number, sample in taken.items():
            samples[number].append(sample)
        numbers.append(numbers.pop(0))

    benchmark.pedantic(one_round, rounds=count, iterations=1)  # type: ignore[no-untyped-call] # it has no types
    benchmark.extra_info[_FOREIGN] = statistics.median(foreign) * 100
    return samples


class CpuUse:
    """CPU seconds used so far: by the whole machine, and by this process with all it started."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        machine = psutil.cpu_times()
        self.machine = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
        self.own = cpu_s(os.getpid())

    def foreign_share_since(self, earlier: CpuUse) -> float:
        """The part of all CPUs that others took meanwhile, the hypervisor included."""
        used = (self.machine - earlier.machine) - (self.own - earlier.own)
        return max(0.0, used) / ((self.at - earlier.at) * (os.cpu_count() or 1))


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: both sides of a round met the same weather."""
    return [one / other for one, other in zip(mine, theirs, strict=True)]


def timed(function: Callable[[], object], times: int) -> float:
    """Seconds per call."""
    begin = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - begin) / times


def rounds_of_burn(action_s: float) -> int:
    """How much work of ``bench.provider.burn`` takes so long here: from the fastest of several tries, because anything
    else only adds to it."""
    tries = 10_000
    per_round_s = min(timed(lambda: burn(tries), 5) for _ in range(20)) / tries
    return round(action_s / per_round_s)
