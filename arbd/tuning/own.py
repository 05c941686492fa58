"""The action by itself: no hub, no rings, no timer; how long the handler takes, and whether it works at all.

    arbd bench ──stdin: OwnTimeRequest──> python -m arbd.tuning.own   loads TARGET as a worker would, calls the action
               <─stdout: OwnTimeReply───                              again and again, times what is inside the handler

A process of its own, because the author's code must neither see the operator's secrets nor share an interpreter with
what measures. Its environment has been scrubbed. What the author's code prints goes to stderr.

A rate limit does not count here: it would be the limit that is measured.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from arbd.errors import ArbdError
from arbd.host import process_state, procs
from arbd.tuning.daemon_process import tail
from arbd.tuning.meter import percentile
from arbd.tuning.record import OwnTime

_MOST_CALLS: Final = 2000
_FEWEST_CALLS: Final = 3
_START_TIMEOUT_S: Final = 60.0


class ActionError(ArbdError):
    """The action does not succeed with this payload."""


class Workload(msgspec.Struct, frozen=True):
    """The action that is measured, and what it is called with."""

    target: str
    action: str
    payload: bytes
    account: bytes


class OwnTimeRequest(msgspec.Struct, frozen=True):
    """A request to call the action for about ``duration_s``. ``timeout_s`` is the action's own; ``parent`` the process
    that asks."""

    workload: Workload
    duration_s: float
    timeout_s: float
    parent: int


class OwnTimeReply(msgspec.Struct, frozen=True):
    """The times of an action by itself: seconds of wall clock for each call, of CPU for all; or the response of the
    call that failed, after so many that ``succeeded``."""

    wall_s: list[float] = []
    cpu_s: float = 0.0
    failure: dict[str, Any] | None = None
    succeeded: int = 0


def measure(request: OwnTimeRequest, environment: Mapping[str, str]) -> OwnTime:
    """Call the action in a process of its own. Raises ``ActionError`` if it fails or takes longer than it may."""
    action = request.workload.action
    timeout_s = _START_TIMEOUT_S + request.duration_s + 2 * _FEWEST_CALLS * request.timeout_s
    with tempfile.TemporaryFile("w+") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "arbd.tuning.own"],
                input=msgspec.json.encode(request),
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ActionError(f"action {action!r} did not return within {timeout_s:.0f} s") from None
        if done.returncode != 0:
            raise ActionError(f"action {action!r} ended its process (exit code {done.returncode}){tail(log)}")
    return _own_time(request, msgspec.json.decode(done.stdout, type=OwnTimeReply))


def describe_failure(response: Mapping[str, Any]) -> str:
    """What a response without success says, in one line."""
    data = response.get("data")
    errors = data.get("errors") if isinstance(data, Mapping) else None
    reasons = f" ({'; '.join(map(str, errors))})" if isinstance(errors, list) else ""
    return f"{response.get('status')}: {response.get('message') or 'without a message'}{reasons}"


def _own_time(request: OwnTimeRequest, reply: OwnTimeReply) -> OwnTime:
    action = request.workload.action
    if reply.failure is not None:
        after = f", after {reply.succeeded} calls that succeeded" if reply.succeeded else ""
        raise ActionError(f"action {action!r} fails with this payload{after}: {describe_failure(reply.failure)}")
    ascending = sorted(reply.wall_s)
    own = OwnTime(
        calls=len(ascending),
        median_s=percentile(ascending, 0.5),
        p99_s=percentile(ascending, 0.99),
        cpu_s=reply.cpu_s / len(ascending),
    )
    if own.median_s > request.timeout_s:
        raise ActionError(
            f"action {action!r} takes {own.median_s:.3g} s, longer than its timeout of {request.timeout_s:g} s"
        )
    return own


# -- in the process of its own ---------------------------------------------------------------------------------------


class _Stopwatch:
    """A handler that is timed: sums up what its calls take, awaitables included."""

    def __init__(self, call: Any) -> None:
        self.wall_s: list[float] = []
        self.cpu_s = 0.0
        self._call = call
        self._runner = asyncio.Runner()

    def __call__(self, *arguments: Any) -> Any:
        cpu_s, begin = time.process_time(), time.perf_counter()
        value = self._call(*arguments)
        if hasattr(type(value), "__await__"):
            value = self._runner.run(_awaited(value))
        self.wall_s.append(time.perf_counter() - begin)
        self.cpu_s += time.process_time() - cpu_s
        return value

    def forget(self) -> None:
        """Drop what was measured so far: it was the warm-up."""
        self.wall_s.clear()
        self.cpu_s = 0.0


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _reply(request: OwnTimeRequest) -> OwnTimeReply:
    from arbd.model.task import Task
    from arbd.rate_limit import NoRateLimitMonitor
    from arbd.worker import target
    from arbd.worker.execute import Context, execute

    workload = request.workload
    provider = target.load(workload.target, [])
    context = Context(provider, utc_now=lambda: datetime.now(UTC), run_async=lambda awaitable, _: awaitable)
    context.change_limits({workload.action: NoRateLimitMonitor()})
    step = context.steps[workload.action]
    watch = _Stopwatch(step.call)
    context.steps[workload.action] = msgspec.structs.replace(step, call=watch)
    task = Task("bench", workload.action, workload.payload, workload.account)
    end_at = None
    while end_at is None or _goes_on(len(watch.wall_s), end_at):
        status, response = execute(context, task, time.monotonic() + request.timeout_s)
        if status != "success":
            succeeded = 0 if end_at is None else len(watch.wall_s) + 1  # and the one to warm up
            return OwnTimeReply(failure=msgspec.json.decode(response), succeeded=succeeded)
        if end_at is None:
            watch.forget()
            end_at = time.monotonic() + request.duration_s
    return OwnTimeReply(watch.wall_s, watch.cpu_s)


def _goes_on(calls: int, end_at: float) -> bool:
    return calls < _FEWEST_CALLS or (calls < _MOST_CALLS and time.monotonic() < end_at)


def main() -> None:
    """Answer the request on stdin."""
    process_state.establish()
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=OwnTimeRequest)
    procs.die_with_parent(request.parent)
    replies = os.dup(1)
    os.dup2(2, 1)  # what the author's code prints is not the reply
    reply = _reply(request)
    with open(replies, "wb") as stream:
        stream.write(msgspec.json.encode(reply))


if __name__ == "__main__":
    main()
