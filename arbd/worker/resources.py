"""The open resources of one worker: opened in order of what they take, closed in reverse.

    sync generator      advanced in the main thread, where the worker's timer can interrupt it
    async generator     advanced by one asyncio task from beginning to end, on the worker's loop: a task group or a
                        timeout that its body enters must be left by the task that entered it
    function            its value, or what awaiting its value gives; nothing to close

One that fails to open leaves nothing behind, and is opened anew at its next use. Hooks run here, too, because they take
resources.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from arbd.author.binding import ResourceValues
from arbd.author.lifespan import Hook, Lifespan, Supplied, in_order
from arbd.author.provider import Provider
from arbd.errors import ResourceError
from arbd.interrupts import call, uninterruptible

RunApart = Callable[[Awaitable[Any], float], Any]
"""Runs an awaitable to its end on the worker's event loop, where what it leaves running stays; the second argument is
the deadline."""

Close = Callable[[float], None]
"""Closes a resource before a deadline."""

_CANCEL_WAIT_S = 0.1


def common_values(provider: Provider) -> dict[str, Any]:
    """What hooks and resources of a provider are given besides resources."""
    return {"logger": provider.logger, "provider": {"name": provider.name}, "timezone": provider.timezone}


class OpenResources(ResourceValues):
    """The resources of one worker that are open, by name. ``common``: what hooks and resources are given besides.
    ``opening`` is entered while one is opened: what that changes in the process is to stay. ``end_if_child`` ends a
    process that the author's code has forked, and that came back from it."""

    def __init__(self, lifespan: Lifespan, common: Mapping[str, Any], run_apart: RunApart) -> None:
        super().__init__()
        self.opening: Callable[[], AbstractContextManager[object]] = nullcontext
        self.end_if_child: Callable[[], object] = lambda: None
        self._lifespan = lifespan
        self._common = common
        self._run_apart = run_apart
        self._closers: dict[str, Close] = {}

    @uninterruptible  # but for the author's code: what was opened and is not noted here would never be closed
    def open(self, name: str, deadline: float) -> Any:
        """Open a resource and those that it takes, as far as they are not; its value. Raises what that raises."""
        for each in in_order(self._lifespan.resources, (name,)):
            if each not in self:
                self._open_one(each, deadline)
        return self[name]

    def run(self, hook: Hook, deadline: float) -> None:
        """Run a hook, its resources opened before it. Raises what that raises."""
        for name in hook.supplied.needs(self._lifespan.resources):
            self.open(name, deadline)
        made = self._call(hook.supplied)
        if inspect.isgenerator(made) or inspect.isasyncgen(made):
            raise ResourceError(f"hook '{hook.name}' gives a generator, which nobody runs; make it a resource")
        if hasattr(type(made), "__await__"):
            self._run_apart(made, deadline)

    def closing_order(self) -> list[str]:
        """The names of those that have something to close, the one that was opened last first. A stop hook that opens
        one for itself has it closed, too: ask when hooks have run."""
        return [*reversed(self._closers)]

    @uninterruptible
    def close(self, name: str, deadline: float) -> None:
        """Close a resource. Raises what that raises; it is not open any more in any case."""
        self.pop(name, None)
        self._closers.pop(name)(deadline)

    def _open_one(self, name: str, deadline: float) -> None:
        with self.opening():
            self._open_now(name, deadline)

    def _open_now(self, name: str, deadline: float) -> None:
        made = self._call(self._lifespan.resources[name].supplied)
        close: Close | None = None
        value: Any
        if inspect.isgenerator(made):
            value = _advance(name, made)
            close = partial(_finish, name, made)
        elif inspect.isasyncgen(made):
            held = HeldGenerator(name, made)
            value = self._run_apart(held.open(), deadline)
            close = partial(self._close_held, held)
        elif hasattr(type(made), "__await__"):
            value = self._run_apart(made, deadline)
        else:
            value = made
        self.end_if_child()
        self[name] = value
        if close is not None:
            self._closers[name] = close

    def _call(self, supplied: Supplied) -> Any:
        values = {**self._common, **self}
        if "provider" in values:
            values["provider"] = dict(values["provider"])  # a new one each time: who asks may change its own
        return call(supplied.call, (values,))

    def _close_held(self, held: HeldGenerator, deadline: float) -> None:
        self._run_apart(held.close(), deadline)


class HeldGenerator:
    """The async generator of one resource, held open by a task of its own."""

    def __init__(self, name: str, generator: AsyncGenerator[Any, Any]) -> None:
        self._name = name
        self._generator = generator
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[Any]
        self._task: asyncio.Task[None]

    async def open(self) -> Any:
        """Run it up to its ``yield``; the value. Raises what it raises; if this is cancelled, so is it."""
        loop = asyncio.get_running_loop()
        self._opened = loop.create_future()
        self._task = loop.create_task(self._hold(), name=f"arbd resource {self._name}")
        try:
            await asyncio.wait({self._opened, self._task}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._closing.set()
            if not self._opened.done():
                self._task.cancel()
            await asyncio.wait({self._task})
            raise
        if self._opened.done():
            return self._opened.result()
        return self._task.result()  # raises

    async def close(self) -> None:
        """Run the rest of it. Raises what that raises; if this is cancelled, so is it."""
        self._closing.set()
        try:
            await asyncio.wait({self._task})
        except BaseException:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CANCEL_WAIT_S)
            raise
        self._task.result()

    async def _hold(self) -> None:
        try:
            value = await anext(self._generator)
        except StopAsyncIteration:
            raise ResourceError(_without_yield(self._name)) from None
        self._opened.set_result(value)
        await self._until_closing()
        try:
            await anext(self._generator)
        except StopAsyncIteration:
            return
        await self._generator.aclose()
        raise ResourceError(_second_yield(self._name))

    async def _until_closing(self) -> None:
        """Wait for ``close``. Whoever cancels every task of the loop does not mean this one: it belongs to none."""
        while not self._closing.is_set():
            try:
                await self._closing.wait()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()


def _advance(name: str, generator: Generator[Any, Any, Any]) -> Any:
    """Run a generator up to its ``yield``; the value. One that is interrupted behind it is closed again."""
    try:
        return call(next, (generator,))
    except StopIteration:
        raise ResourceError(_without_yield(name)) from None
    except BaseException:
        if inspect.getgeneratorstate(generator) == inspect.GEN_SUSPENDED:
            _finish(name, generator)
        raise


def _finish(name: str, generator: Generator[Any, Any, Any], _deadline: float = 0.0) -> None:
    """Run the rest of a generator."""
    try:
        call(next, (generator,))
    except StopIteration:
        return
    generator.close()
    raise ResourceError(_second_yield(name))


def _without_yield(name: str) -> str:
    return f"resource '{name}' ended without a yield; it must yield its value once"


def _second_yield(name: str) -> str:
    return f"resource '{name}' yields twice; what stands behind the second yield was not run"
