"""One run of the jobs: the embedded hub in this process, the daemon as its child, every answer collected.

         this process                                       child: python -m arbd run arbd.examples.fx_risk
    client ── submit ──> hub ══════════ tasks ══════════> supervisor ──> workers
    client <── await ─── hub <═════════ results ═════════ supervisor <── workers
                                meter reads /proc ──────> all of them

Whatever ends the run (its end, an error, a cancellation, the daemon's death), the child has been told to stop and has
been waited for when ``run_session`` returns. The child's own settings and environment do not take part: it gets its
settings from its command line only, so that the demo measures the same thing on every machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from arbd.examples.demo.jobs import DemoJob
from arbd.examples.demo.report import JobResult
from arbd.hub.board import NewTask, Result
from arbd.hub.client import HubClient
from arbd.hub.server import EmbeddedHub
from arbd.tuning.daemon_process import DaemonError, daemon_process
from arbd.tuning.meter import Load, Meter

TARGET: Final = "arbd.examples.fx_risk"
_READY_TIMEOUT_S: Final = 30.0
_TIMEOUT_PER_JOB_S: Final = 1.0  # jobs of 35 ms on average, measured on one core of the machine this was written on
_METER_PERIOD_S: Final = 0.2
_WARM_UP: Final = NewTask("convert", b'{"amount": 1, "source": "EUR", "target": "USD"}')
# Variables that configure a daemon: the demo's must not become a different one because of them.
_SETTINGS_PREFIXES: Final = ("ARBD_", "PROVIDER_", "HUB_GRPC_", "TASK_EXECUTION_", "LOG_SILENT")


class Session(msgspec.Struct, frozen=True):
    """The results of one run. ``ready_s``: from the child's start to its first answer; ``elapsed_s``: first to last
    job."""

    answers: list[JobResult]
    ready_s: float
    elapsed_s: float
    load: Load


async def run_session(jobs: Sequence[DemoJob], workers: str, on_answer: Callable[[], None]) -> Session:
    """Send ``jobs`` through hub and daemon; ``on_answer`` is called for each that is done. Raises DaemonError."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS_PREFIXES)}
    async with (
        EmbeddedHub() as hub,
        HubClient(hub.address) as client,
        daemon_process(daemon_command(hub.address, workers), environment) as daemon,
    ):
        timeout = _READY_TIMEOUT_S + len(jobs) * _TIMEOUT_PER_JOB_S
        return await daemon.during(_run_jobs(client, daemon.pid, jobs, on_answer), timeout)


def daemon_command(address: str, workers: str) -> list[str]:
    """The daemon as a user would start it, but for the settings file, which is none."""
    options = ["--hub", address, "--workers", workers, "--config", os.devnull, "--parent", str(os.getpid())]
    return [
        sys.executable,
        "-P",
        "-m",
        "arbd",
        "run",
        TARGET,
        *options,
        "--log-level",
        "warning",
        "--log-format",
        "console",
    ]


async def _run_jobs(client: HubClient, pid: int, jobs: Sequence[DemoJob], on_answer: Callable[[], None]) -> Session:
    started_at = time.monotonic()
    await _warm_up(client)
    ready_at = time.monotonic()
    meter = Meter(pid, ready_at)
    metering = asyncio.create_task(_sample_for_ever(meter))
    try:
        results = await _send(client, [_new_task(job) for job in jobs], on_answer)
        done_at = time.monotonic()
        load = meter.stop(done_at)
    finally:
        metering.cancel()
    latencies_s = [await client.time_with_provider(result.id) for result in results]
    answers = [
        JobResult(job=job, response=result.response, latency_s=latency_s)
        for job, result, latency_s in zip(jobs, results, latencies_s, strict=True)
    ]
    return Session(answers=answers, ready_s=ready_at - started_at, elapsed_s=done_at - ready_at, load=load)


async def _warm_up(client: HubClient) -> None:
    """One trivial task through the whole path: when its answer is here, the daemon works."""
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await _send(client, [_WARM_UP], lambda: None)
    except TimeoutError:
        raise DaemonError(f"the daemon answered no task within {_READY_TIMEOUT_S:.0f} s") from None


async def _send(client: HubClient, tasks: Sequence[NewTask], on_answer: Callable[[], None]) -> list[Result]:
    """Submit all tasks at once and wait for all results; they are returned in the order of the tasks."""
    batch = await client.submit(tasks)
    by_id: dict[str, Result] = {}
    async for result in client.results(batch.name):
        by_id[result.id] = result
        on_answer()
    return [by_id[task_id] for task_id in batch.ids]


def _new_task(job: DemoJob) -> NewTask:
    return NewTask(job.action, msgspec.json.encode(job.payload))


async def _sample_for_ever(meter: Meter) -> None:
    while True:
        await asyncio.sleep(_METER_PERIOD_S)
        meter.sample()
