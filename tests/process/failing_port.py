"""Collaborators of a hub link that raise when a test says so, and a note of what the loop's exception handler was told.

Faults.fail("take_tasks", Boom())      the next call of that name raises; then all is well again
FaultyPort, FaultyOutbox             the daemon, as a link sees it
break_grpc                           the calls a link makes to gRPC
"""

from __future__ import annotations

import asyncio
import errno
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from grpc.aio._channel import Channel as Channel  # grpc.aio.Channel is its base alone
from hub_support import Supervisor

from arbd import supervised
from arbd.core.outbox import MemoryOutbox
from arbd.model.task import Outcome, Task


class Boom(Exception):
    """Something that nobody expected."""


def no_descriptor() -> OSError:
    """What the kernel says when there is no descriptor left."""
    return OSError(errno.EMFILE, "Too many open files")


class Faults:
    """What is to be raised, by the name of the call; ``raised`` counts what was."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Exception]] = defaultdict(list)
        self.raised: Counter[str] = Counter()

    def fail(self, name: str, *errors: Exception) -> None:
        """The next calls of that name raise these, one each."""
        self._waiting[name] += errors

    def check(self, name: str) -> None:
        """Raise what is due at a call of that name."""
        if self._waiting[name]:
            self.raised[name] += 1
            raise self._waiting[name].pop(0)


class FaultyOutbox(MemoryOutbox):
    """An outbox that raises instead of doing its work."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def take(self) -> Outcome | None:
        self._faults.check("take")
        return super().take()

    def ack(self, outcome: Outcome, now: float) -> None:
        self._faults.check("ack")
        super().ack(outcome, now)

    def put_back(self, outcome: Outcome) -> None:
        self._faults.check("put_back")
        super().put_back(outcome)


class FaultyPort(Supervisor):
    """A daemon whose methods raise. One that raises when it is given tasks has taken them over all the same."""

    def __init__(self, faults: Faults, slots: int = 64, answer: Callable[[Task], Outcome | None] | None = None) -> None:
        self.faults = faults
        super().__init__(slots, answer)
        self.outbox = FaultyOutbox(faults)

    def free_slots(self) -> int:
        self.faults.check("free_slots")
        return super().free_slots()

    @property
    def actions(self) -> Any:
        self.faults.check("actions")
        return self._actions

    @actions.setter
    def actions(self, actions: Any) -> None:
        self._actions = actions

    def take(self, tasks: Sequence[Task]) -> None:
        super().take(tasks)
        self.faults.check("take_tasks")

    def cancel(self, task_ids: Sequence[str]) -> None:
        super().cancel(task_ids)
        self.faults.check("cancel")


def unexpected() -> list[BaseException]:
    """What the running loop's exception handler is told from now on, as a process of arbd acts upon it."""
    seen: list[BaseException] = []

    def note(error: BaseException) -> None:
        # What gRPC's poller, which all loops share, has left for the loop of a test before is nothing of this one's.
        if not (isinstance(error, RuntimeError) and "loop is closed" in str(error)):
            # Without the traceback, which holds all that there was: gRPC keeps a loop, and so its handler, for good.
            seen.append(error.with_traceback(None))

    supervised.install(asyncio.get_running_loop(), note)
    return seen


def break_grpc(monkeypatch: pytest.MonkeyPatch, faults: Faults) -> None:
    """Have channels of this process raise what is due at "GetTask", "SubmitTaskResult", "Connect" (opening a stream),
    "read", "write" and "close"."""
    unary_unary, stream_stream, close = (
        Channel.unary_unary,
        Channel.stream_stream,
        Channel.close,
    )

    def faulty_unary(channel: Channel, method: str, *arguments: Any, **options: Any) -> Any:
        call = unary_unary(channel, method, *arguments, **options)

        def calling(*arguments: Any, **options: Any) -> Any:
            faults.check(method.rpartition("/")[2])
            return call(*arguments, **options)

        return calling

    def faulty_stream(channel: Channel, *arguments: Any, **options: Any) -> Any:
        call = stream_stream(channel, *arguments, **options)

        def calling(*arguments: Any, **options: Any) -> Any:
            faults.check("Connect")
            return _FaultyStream(call(*arguments, **options), faults)

        return calling

    async def faulty_close(channel: Channel, grace: float | None = None) -> None:
        await close(channel, grace)
        faults.check("close")

    monkeypatch.setattr(Channel, "unary_unary", faulty_unary)
    monkeypatch.setattr(Channel, "stream_stream", faulty_stream)
    monkeypatch.setattr(Channel, "close", faulty_close)


class _FaultyStream:
    def __init__(self, call: Any, faults: Faults) -> None:
        self._call = call
        self._faults = faults

    async def read(self) -> Any:
        self._faults.check("read")
        return await self._call.read()

    async def write(self, data: bytes) -> None:
        self._faults.check("write")
        await self._call.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
