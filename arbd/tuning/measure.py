"""One run at one point: an embedded hub in a process of its own, the real daemon with exactly these settings.

    fill the hub ──> start the daemon ──> 1/10 done ── the window ── 9/10 done ──> all done ──> one task at a time
                                              │ CPU and busy times of supervisor and workers │

The hub is full before the daemon comes, and nothing is submitted in the window: submitting costs CPU too. Rates are
by the hub's own count. The daemon is killed afterwards: everything is answered, and polls that the hub still holds
need not be waited for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from arbd.control.client import ask
from arbd.control.protocol import GetStatus, StatusReply
from arbd.control.reports import StatusReport
from arbd.hub.board import NewTask, Result
from arbd.hub.client import Batch, HubClient
from arbd.hub.process import HubProcess
from arbd.hub.state import DEFAULT_MAX_MESSAGE
from arbd.settings.secrets import scrub
from arbd.settings.table import BY_NAME, TABLE, Resolved
from arbd.tuning import plan
from arbd.tuning.daemon_process import DaemonError, DaemonProcess, daemon_process
from arbd.tuning.meter import Meter, percentile
from arbd.tuning.own import Workload, describe_failure
from arbd.tuning.record import Point, Sample

_LEASE_S: Final = 7 * 86_400.0  # the hub hands out no task twice
_START_TIMEOUT_S: Final = 60.0
_LOOKS: Final = 100  # at the hub's counters, in one window: each costs the hub a call
_BURST_LOOKS: Final = 4  # until tasks that end together have all ended
_LATENCIES: Final = 200
_IDLE_TASKS: Final = 100
_AFTER_ACTION_S: Final = 0.003  # until a task that runs alone has surely been answered
_ROOM: Final = 8 * 1024 * 1024  # for results
_TOO_SHORT: Final = 1 / 3  # of the wanted duration: the rate was guessed badly
# The daemon of a benchmark has its own hub; what else the operator says about the hub (calls in flight, pauses) holds.
OWN_HUB: Final = frozenset(
    {
        *("target", "runtime_dir", "control.socket", "hub.url", "hub.auth_token", "hub.auth_token_file"),
        *("hub.tls", "hub.tls_ca", "hub.tls_cert", "hub.tls_key"),
    }
)


class LoadSpec(msgspec.Struct, frozen=True):
    """The load of a benchmark: what to run at every point, for about ``duration_s``. ``own_s``: what a call takes by
    itself; ``environment``: the daemon's, without what the point says."""

    workload: Workload
    duration_s: float
    own_s: float
    environment: dict[str, str]

    @property
    def task(self) -> NewTask:
        """A task of this load."""
        return NewTask(self.workload.action, self.workload.payload, self.workload.account)


def daemon_environment(resolved: Resolved, environ: Mapping[str, str]) -> dict[str, str]:
    """The operator's settings and environment, fit for a daemon that has another hub and knows no token.

    ``arbd.toml`` does not count for it: what it says is in here, as variables, so that the constructor still wins.
    """
    # What a constructor may read stays, whatever it is worth: the author's code may insist on it.
    kept = {setting.variable for setting in TABLE if setting.argument}
    settings = {setting.variable for setting in TABLE}
    clean = scrub(environ, [resolved.settings.hub_auth_token])
    found = {name: value for name, value in clean.items() if name in kept or name not in settings}
    for setting in TABLE:
        if resolved.origin[setting.name] not in ("default", "constructor") and setting.name not in OWN_HUB:
            found[setting.variable] = _written(getattr(resolved.settings, setting.attribute))
    return found


def point_environment(point: Point) -> dict[str, str]:
    """The settings of a point, as environment variables."""
    return {BY_NAME[setting].variable: _written(getattr(point, name)) for name, setting in plan.SETTINGS.items()}


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def measure(spec: LoadSpec, point: Point, rate: float) -> Sample:
    """One sample; ``rate`` is what to expect, in tasks/s. Raises ``DaemonError``.

    If so few tasks were sent that the window was much too short, the sample is taken once more with more of them.
    """
    sample = await _run(spec, point, plan.task_count(rate, point.workers, spec.duration_s, len(spec.workload.payload)))
    if sample.window_s < spec.duration_s * _TOO_SHORT and not sample.failed:
        count = plan.task_count(sample.tasks_per_s, point.workers, spec.duration_s, len(spec.workload.payload))
        if count > 2 * sample.tasks / plan.WINDOW:
            return await _run(spec, point, count)
    return sample


async def _run(spec: LoadSpec, point: Point, count: int) -> Sample:
    with (
        tempfile.TemporaryDirectory(prefix="arbd-bench-") as place,
        HubProcess(
            lease_s=_LEASE_S, keep_finished=count + plan.MAX_TASKS, max_message=_max_message(spec.workload.payload)
        ) as hub,
    ):
        socket = Path(place) / "s"
        environment = {**spec.environment, **point_environment(point), "ARBD_CONTROL_SOCKET": str(socket)}
        async with HubClient(hub.address, timeout_s=_START_TIMEOUT_S) as client:
            batch = await client.submit([spec.task] * count)
            async with daemon_process(_command(spec.workload.target, hub.address), environment) as daemon:
                run = _Run(spec, client, daemon, socket, batch)
                # Each task may take five times as long as by itself before something must be wrong.
                timeout_s = _START_TIMEOUT_S + 5 * (spec.duration_s + count * spec.own_s)
                sample = await daemon.during(run.sample(), timeout_s)
                daemon.kill()
    return sample


def _max_message(payload: bytes) -> int:
    """Room for a task on its way in, and for its result with the payload echoed in it."""
    return max(DEFAULT_MAX_MESSAGE, 4 * len(payload) + _ROOM)


def _command(target: str, address: str) -> list[str]:
    options = ["--hub", address, "--config", os.devnull, "--parent", str(os.getpid())]
    return [sys.executable, "-P", "-m", "arbd", "run", target, *options]


class _Run:
    """One hub that is full, and one daemon that has just been started."""

    def __init__(self, spec: LoadSpec, client: HubClient, daemon: DaemonProcess, socket: Path, batch: Batch) -> None:
        self._spec = spec
        self._client = client
        self._daemon = daemon
        self._socket = socket
        self._batch = batch
        self._count = len(batch.ids)

    async def sample(self) -> Sample:
        """Measure everything, in the order of the drawing above."""
        begin = _Mark(time.monotonic(), 0)
        first = await self._wait_done(self._count // 10)
        meter = Meter(self._daemon.pid, first.at)
        before = self._status()
        last = await self._wait_done(self._count * 9 // 10)
        load = meter.stop(last.at)
        after = self._status()
        await self._wait_done(self._count)
        if last.done == first.done:  # a handful of large tasks, done between two looks: with the daemon's start, then
            first = begin
        tasks, window_s = last.done - first.done, last.at - first.at
        loaded_s = await self._loaded_latencies()
        idle_s = await self._idle_latencies()
        failed, failure = await self._failures()
        return Sample(
            tasks=tasks,
            window_s=window_s,
            supervisor_cpu_s=load.supervisor_busy * window_s / tasks,
            workers_cpu_s=sum(worker.busy for worker in load.workers) * window_s / tasks,
            busy=_busy(before, after),
            idle_p50_s=percentile(idle_s, 0.5),
            idle_p99_s=percentile(idle_s, 0.99),
            loaded_p50_s=percentile(loaded_s, 0.5),
            loaded_p99_s=percentile(loaded_s, 0.99),
            failed=failed,
            failure=failure,
            links_cpu_s=load.links_busy * window_s / tasks,
        )

    async def _wait_done(self, least: int) -> _Mark:
        """The moment at which so many tasks are first seen to be done.

        Slow actions that began together end together; a mark amid them would count some and not the others. So it is
        set when no more come, if that is soon.
        """
        pause_s = min(max(self._spec.duration_s / _LOOKS, 0.002), 0.05)
        while (mark := await self._look()).done < max(least, 1):  # noqa: ASYNC110 - the hub can only be asked
            await asyncio.sleep(pause_s)
        for _ in range(_BURST_LOOKS if self._spec.own_s > _BURST_LOOKS * pause_s else 0):
            await asyncio.sleep(pause_s)
            later = await self._look()
            if later.done == mark.done:
                break
            mark = later
        return mark

    async def _look(self) -> _Mark:
        return _Mark(time.monotonic(), self._count - await self._open_tasks())

    async def _open_tasks(self) -> int:
        """How many tasks the hub has without a verdict."""
        stats = await self._client.stats()
        return stats["queued"] + stats["leased"]

    def _status(self) -> StatusReport:
        return ask(self._socket, GetStatus(), StatusReply).report

    async def _loaded_latencies(self) -> list[float]:
        """Latencies of tasks from the middle of the run, ascending."""
        middle = self._batch.ids[self._count // 10 : self._count * 9 // 10] or self._batch.ids
        chosen = middle[:: max(1, len(middle) // _LATENCIES)]
        return sorted([await self._client.time_with_provider(task_id) for task_id in chosen])

    async def _idle_latencies(self) -> list[float]:
        """Latencies of single tasks, each sent when the one before was answered, ascending."""
        spec, name = self._spec, f"{self._batch.name}-idle"
        end_at = time.monotonic() + plan.idle_tasks_s(spec.own_s, spec.duration_s)
        sent = 0
        while sent < plan.FEWEST_IDLE or (sent < _IDLE_TASKS and time.monotonic() < end_at):
            await self._client.submit([spec.task], batch=name)
            sent += 1
            await asyncio.sleep(spec.own_s)
            while True:
                await asyncio.sleep(_AFTER_ACTION_S)
                if not await self._open_tasks():
                    break
        return sorted([result.taken_s async for result in self._client.results(name)])

    async def _failures(self) -> tuple[int, str]:
        """How many of all tasks did not succeed, and what the first of them was answered."""
        verdicts = self._status().verdicts
        failed = sum(count for status, count in verdicts.items() if status != "success")
        if not failed:
            return 0, ""
        for batch in (self._batch.name, f"{self._batch.name}-idle"):
            async for result in self._client.results(batch):
                if result.status != "success":
                    return failed, _describe_failure(result)
        raise DaemonError(f"the daemon counts {failed} failed tasks, the hub none")


class _Mark(msgspec.Struct, frozen=True):
    """How many tasks were done at a moment."""

    at: float
    done: int


def _busy(before: StatusReport, after: StatusReport) -> float:
    """The part of the workers' time that they spent in tasks between two reports."""
    begin = {worker.pid: worker for worker in before.workers}
    pairs = [(begin[worker.pid], worker) for worker in after.workers if worker.pid in begin]
    busy_s = sum(late.busy_s - early.busy_s for early, late in pairs)
    age_s = sum(late.age_s - early.age_s for early, late in pairs)
    return min(1.0, busy_s / age_s) if age_s > 0 else 0.0


def _describe_failure(result: Result) -> str:
    try:
        return describe_failure(result.response)
    except msgspec.DecodeError:
        return f"{result.status}: an answer that is no JSON object"
