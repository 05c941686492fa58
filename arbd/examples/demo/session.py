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
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any, Final

import msgspec

from arbd.errors import ArbdError
from arbd.examples.demo.jobs import Job
from arbd.examples.demo.meter import Load, Meter
from arbd.examples.demo.report import Answer
from arbd.hub.board import Event, NewTask, Result
from arbd.hub.client import HubClient
from arbd.hub.server import EmbeddedHub

TARGET: Final = "arbd.examples.fx_risk"
_READY_TIMEOUT_S: Final = 30.0
_TIMEOUT_PER_JOB_S: Final = 1.0  # jobs of 35 ms on average, measured on one core of the machine this was written on
_STOP_TIMEOUT_S: Final = 5.0
_METER_PERIOD_S: Final = 0.2
_LOG_TAIL_LINES: Final = 12
_WARM_UP: Final = NewTask("convert", b'{"amount": 1, "source": "EUR", "target": "USD"}')
# Variables that configure a daemon: the demo's must not become a different one because of them.
_SETTINGS_PREFIXES: Final = ("ARBD_", "PROVIDER_", "HUB_GRPC_", "TASK_EXECUTION_", "LOG_SILENT")


class DemoError(ArbdError):
    """The demo could not be run to its end; the message holds what the daemon logged last."""


class Session(msgspec.Struct, frozen=True):
    """What a run gave. ``ready_s``: from the child's start to its first answer; ``elapsed_s``: first to last job."""

    answers: list[Answer]
    ready_s: float
    elapsed_s: float
    load: Load


async def run_session(jobs: Sequence[Job], workers: str, on_answer: Callable[[], None]) -> Session:
    """Send ``jobs`` through hub and daemon; ``on_answer`` is called for each that is done. Raises DemoError."""
    async with EmbeddedHub() as hub, HubClient(hub.address) as client:
        with tempfile.TemporaryFile("w+") as log:
            async with _daemon(hub.address, workers, log) as process:
                timeout = _READY_TIMEOUT_S + len(jobs) * _TIMEOUT_PER_JOB_S
                try:
                    return await _unless_it_ends(process, _run_jobs(client, process.pid, jobs, on_answer), timeout)
                except DemoError as error:
                    raise DemoError(f"{error}{_log_tail(log)}") from None


def daemon_command(address: str, workers: str) -> list[str]:
    """The daemon as a user would start it, but for the settings file, which is none."""
    options = ["--hub", address, "--workers", workers, "--config", os.devnull, "--log-level", "warning"]
    return [sys.executable, "-m", "arbd", "run", TARGET, *options, "--log-format", "console"]


@asynccontextmanager
async def _daemon(address: str, workers: str, log: IO[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS_PREFIXES)}
    process = await asyncio.create_subprocess_exec(
        *daemon_command(address, workers), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment
    )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask, wait, then kill. Workers need no care: none of them outlives its supervisor."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:  # also when a second Ctrl-C cut the wait short
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _unless_it_ends(
    process: asyncio.subprocess.Process, run: Coroutine[Any, Any, Session], timeout: float
) -> Session:
    """The outcome of ``run``, or a DemoError as soon as the daemon is gone or the time is up."""
    running = asyncio.create_task(run)
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({running, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        if ended.done():
            raise DemoError(f"the daemon ended with exit code {ended.result()}")
        raise DemoError(f"the tasks were not done after {timeout:.0f} s")
    finally:
        running.cancel()
        ended.cancel()
        await asyncio.gather(running, ended, return_exceptions=True)


def _log_tail(log: IO[str]) -> str:
    log.seek(0)
    lines = log.read().splitlines()[-_LOG_TAIL_LINES:]
    return "".join(f"\n  {line}" for line in ["The daemon's last log lines:", *lines]) if lines else ""


async def _run_jobs(client: HubClient, pid: int, jobs: Sequence[Job], on_answer: Callable[[], None]) -> Session:
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
    latencies_s = [_latency_s(await client.history(result.id)) for result in results]
    answers = [
        Answer(job=job, response=result.response, latency_s=latency_s)
        for job, result, latency_s in zip(jobs, results, latencies_s, strict=True)
    ]
    return Session(answers=answers, ready_s=ready_at - started_at, elapsed_s=done_at - ready_at, load=load)


async def _warm_up(client: HubClient) -> None:
    """One trivial task through the whole path: when its answer is here, the daemon works."""
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await _send(client, [_WARM_UP], lambda: None)
    except TimeoutError:
        raise DemoError(f"the daemon answered no task within {_READY_TIMEOUT_S:.0f} s") from None


async def _send(client: HubClient, tasks: Sequence[NewTask], on_answer: Callable[[], None]) -> list[Result]:
    """Submit all tasks at once and wait for all results; they are returned in the order of the tasks."""
    batch = await client.submit(tasks)
    by_id: dict[str, Result] = {}
    async for result in client.results(batch.name):
        by_id[result.id] = result
        on_answer()
    return [by_id[task_id] for task_id in batch.ids]


def _new_task(job: Job) -> NewTask:
    return NewTask(job.action, msgspec.json.encode(job.payload))


def _latency_s(events: Sequence[Event]) -> float:
    """From the last hand-out to the verdict, by the hub's clock. The wait in the hub's queue is not part of it."""
    handed_out_at = [event.at for event in events if event.kind == "handed_out"]
    return events[-1].at - handed_out_at[-1]


async def _sample_for_ever(meter: Meter) -> None:
    while True:
        await asyncio.sleep(_METER_PERIOD_S)
        meter.sample()
