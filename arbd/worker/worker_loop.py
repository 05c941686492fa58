"""The event loop of a worker, which tells in whose code each thing on it was made (``leftovers`` has it end)."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from types import BuiltinFunctionType, FrameType
from typing import Any, Final

import uvloop

from arbd import logs
from arbd.worker.leftovers import NOWHERE, Fenced, Leftovers, Posted, Watched, apart_tasks, note
from arbd.worker.thread_calls import BELONGS_TO, coroutine_in, is_authors, is_authors_code, owner

_MANY: Final = 256  # timers, before those that have rung are forgotten
_SOON_S: Final = 0.0005  # uvloop counts in milliseconds, and rounds
_call_soon: Final = uvloop.Loop.call_soon
_MAIN_THREAD: Final = threading.main_thread().ident


class WorkerLoop(uvloop.Loop):
    """An event loop that notes what is made in the code of an action."""

    def __init__(self) -> None:
        super().__init__()
        self.running: Leftovers | None = None  # whose coroutine it runs
        self._handled: set[int] = set()
        self._watched: dict[Watched, tuple[Leftovers, Any]] = {}
        self._executor: ThreadPoolExecutor = _CountingExecutor()
        self._apart: ThreadPoolExecutor | None = None  # of those who are no action
        handler = logs.loop_exception_handler()
        self.set_exception_handler(handler)
        self._kept: tuple[Any, bool, ThreadPoolExecutor] = (handler, False, self._executor)
        super().set_default_executor(self._executor)
        self.set_task_factory(_make_task)

    def keep(self) -> None:
        """Keep what a hook or a resource has set."""
        self._kept = (self.get_exception_handler(), self.get_debug(), self._executor)
        self.set_task_factory(_make_task)

    def restore(self) -> None:
        """Put back what an action may have set, and replace an executor that is still busy."""
        handler, debug, executor = self._kept
        if self.get_task_factory() is not _make_task:
            self.set_task_factory(_make_task)
        if self.get_exception_handler() is not handler:
            self.set_exception_handler(handler)
        if self.get_debug() != debug:
            self.set_debug(debug)
        for signum in list(self._handled):
            self.remove_signal_handler(signum)
        if isinstance(executor, _CountingExecutor) and executor.is_busy():
            executor.shutdown(wait=False, cancel_futures=True)
            executor = _CountingExecutor()
            self._kept = (handler, debug, executor)
        if self._executor is not executor:
            self.set_default_executor(executor)

    def set_default_executor(self, executor: Any) -> None:
        super().set_default_executor(executor)
        self._executor = executor

    # Any: the parameters of these two are a type variable tuple in typeshed.
    def add_signal_handler(  # type: ignore[override] # see above
        self, sig: int, callback: Callable[..., Any], *args: Any
    ) -> None:
        super().add_signal_handler(sig, callback, *args)
        if BELONGS_TO.get() is not None:
            self._handled.add(sig)

    def remove_signal_handler(self, sig: int) -> bool:
        self._handled.discard(sig)
        return bool(super().remove_signal_handler(sig))

    def call_later(  # type: ignore[override] # see above
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        left: Any = BELONGS_TO.get()
        frame = sys._getframe(1)
        if left is None or not (is_authors(callback) or _is_authors_frame(frame)):
            return super().call_later(delay, callback, *args, context=context)
        if context is not None and _is_authors_frame(frame):
            left.enter(context)
        if delay <= _SOON_S:  # uvloop calls it in its next turn, and the handle is no timer's
            return super().call_later(delay, _fenced(left, callback), *args, context=context)
        timer = super().call_later(delay, callback, *args, context=context)
        if left.is_over:
            timer.cancel()
        elif len(left.timers) >= _MANY and len(left.timers) % _MANY == 0:
            now = self.time()
            left.timers = [each for each in left.timers if not each.cancelled() and each.when() > now]
        left.timers.append(timer)
        return timer

    def call_soon(  # type: ignore[override] # see above
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        if type(callback) is _STEP:  # the straight path
            return _call_soon(self, callback, *args, context=context)
        if context is not None or BELONGS_TO.get() is not None:
            callback = _fence(callback, args, context, sys._getframe(1))
        return _call_soon(self, callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override] # see above
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> Any:
        if threading.get_ident() != _MAIN_THREAD:
            callback = _posted(callback, context, sys._getframe(1))
        else:
            callback = _fence(callback, args, context, sys._getframe(1))
        return super().call_soon_threadsafe(callback, *args, context=context)

    def add_reader(self, fileobj: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override] # see above
        if self._watch("add_reader", fileobj, callback, sys._getframe(1)):
            super().add_reader(fileobj, callback, *args)

    def add_writer(self, fileobj: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override] # see above
        if self._watch("add_writer", fileobj, callback, sys._getframe(1)):
            super().add_writer(fileobj, callback, *args)

    def remove_reader(self, fileobj: Any) -> bool:  # type: ignore[override] # asyncio says so, uvloop's stubs do not
        self._watched.pop(("add_reader", _fileno(fileobj)), None)
        return bool(super().remove_reader(fileobj))

    def remove_writer(self, fileobj: Any) -> bool:  # type: ignore[override] # as above
        self._watched.pop(("add_writer", _fileno(fileobj)), None)
        return bool(super().remove_writer(fileobj))

    def _watch(self, add: str, fileobj: Any, callback: Any, frame: FrameType) -> bool:
        """Whether to have a file watched; it is noted whose that is."""
        left = BELONGS_TO.get()
        key = (add, _fileno(fileobj))
        if left is None or not (is_authors(callback) or _is_authors_frame(frame)):
            self._watched.pop(key, None)
            return True
        if left.is_over:
            return False
        self._watched[key] = (left, callback)
        left.watched.add(key)
        return True

    def unwatch(self, left: Leftovers, add: str, fd: int) -> Any:
        """Remove what an action has a file watched with, if that is still there; what that calls."""
        held = self._watched.get((add, fd))
        if held is None or held[0] is not left:
            return None
        if add == "add_reader":
            self.remove_reader(fd)
        else:
            self.remove_writer(fd)
        return held[1]

    # Any: passed on.
    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        return _served(await super().create_server(_noting(protocol_factory), *args, **kwargs))

    async def create_unix_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        return _served(await super().create_unix_server(_noting(protocol_factory), *args, **kwargs))

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        return _connected(await super().create_connection(*args, **kwargs))

    async def create_unix_connection(self, *args: Any, **kwargs: Any) -> Any:
        return _connected(await super().create_unix_connection(*args, **kwargs))

    async def create_datagram_endpoint(self, *args: Any, **kwargs: Any) -> Any:
        return _connected(await super().create_datagram_endpoint(*args, **kwargs))

    async def connect_accepted_socket(self, *args: Any, **kwargs: Any) -> Any:
        return _connected(await super().connect_accepted_socket(*args, **kwargs))

    async def connect_write_pipe(self, *args: Any, **kwargs: Any) -> Any:
        return _connected(await super().connect_write_pipe(*args, **kwargs))

    async def connect_read_pipe(self, *args: Any, **kwargs: Any) -> Any:
        return _connected(await super().connect_read_pipe(*args, **kwargs))

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override] # see above
        if executor is None and BELONGS_TO.get() is None and isinstance(self._executor, _CountingExecutor):
            if self._apart is None:
                self._apart = ThreadPoolExecutor(thread_name_prefix="asyncio-resources")
            executor = self._apart
        return super().run_in_executor(executor, func, *args)

    def close(self) -> None:
        super().close()
        if self._apart is not None:
            self._apart.shutdown(wait=False)


class _CountingExecutor(ThreadPoolExecutor):
    """An executor that knows whether it has something to do."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._running: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def is_busy(self) -> bool:
        """Whether any of its jobs has not ended."""
        return bool(self._running)


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
    left: Any = BELONGS_TO.get()
    if left is not None and (context := how.get("context")) is not None:
        left.enter(context)
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **how)
    if left is None:
        apart_tasks.add(task)
    else:
        note(left.tasks, task)
        if left.is_over and is_authors(coroutine):
            task.cancel()
    return task


def _fence(callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, frame: FrameType) -> Any:
    """What the loop is to call, once whoever it belongs to is known."""
    left: Any = BELONGS_TO.get() if context is None else context.get(BELONGS_TO, NOWHERE)
    if left is NOWHERE:  # a future calls what waits for it in such a context, too: that is not of whoever sets it
        left = None
        if context is not None and _is_authors_frame(frame) and not (len(args) == 1 and _is_done(args[0])):
            left = BELONGS_TO.get()
            if left is not None:
                left.enter(context)
                return _fenced(left, callback)
    return callback if left is None or not _is_to_be_fenced(callback, context, frame) else _fenced(left, callback)


def _is_done(thing: Any) -> bool:
    return asyncio.isfuture(thing) and thing.done()


def _posted(callback: Callable[..., Any], context: Context | None, frame: FrameType) -> Callable[..., Any]:
    """What the loop is to call for a thread."""
    left: Any = owner() if context is None else context.get(BELONGS_TO, None)
    if left is None:
        return callback
    posted = Posted(left, callback, is_authors=_is_of_author(callback, context, frame))
    if not left.is_over:
        note(left.soon, posted)
    return posted


def _is_of_author(callback: Any, context: Context | None, frame: FrameType) -> bool:
    coroutine = coroutine_in(callback)
    return is_authors(callback if coroutine is None else coroutine) or (context is None and _is_authors_frame(frame))


def _fenced(left: Leftovers, callback: Callable[..., Any]) -> Fenced:
    fenced = Fenced(left, callback)
    note(left.soon, fenced)
    return fenced


def _served(server: Any) -> Any:
    left = BELONGS_TO.get()
    if left is not None:
        if left.is_over:
            server.close()
        note(left.servers, server)
    return server


def _connected(pair: Any) -> Any:
    """Note a connection whose protocol is of the author's classes: others' may be a pool's."""
    left = BELONGS_TO.get()
    if left is not None and _is_authors_class(type(pair[1])):
        left.connections.add(pair[0])
    return pair


def _is_authors_class(cls: type) -> bool:
    return any(is_authors(each) for base in cls.__mro__ for each in vars(base).values())


def _noting(factory: Any) -> Any:
    """A factory whose protocols' connections are noted, for a server that an action starts."""
    left: Any = BELONGS_TO.get()
    if left is None:
        return factory

    def make() -> Any:
        protocol = factory()
        connected = protocol.connection_made

        def connection_made(transport: Any) -> None:
            left.connections.add(transport)
            connected(transport)

        try:
            protocol.connection_made = connection_made
        except AttributeError:  # it has slots
            _give_class(protocol, connection_made)
        return protocol

    return make


def _give_class(protocol: Any, connection_made: Callable[[Any], None]) -> None:
    """Give an object with slots a class of its own, as the attribute cannot be set."""
    cls = type(protocol)
    own: dict[str, Any] = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    with suppress(TypeError):  # its class is written in C, or is not to be derived from
        own["connection_made"] = staticmethod(connection_made)
        protocol.__class__ = types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(own))


def _is_to_be_fenced(callback: Any, context: Any, frame: FrameType) -> bool:
    """Whether the author's code asked for a call. A future calls what waits for it with a context, and in the frame of
    whoever sets its result: that frame says nothing then."""
    if type(callback) is BuiltinFunctionType and callback.__name__ == "task_wakeup":
        return False
    return is_authors(callback) or (context is None and _is_authors_frame(frame))


def _is_authors_frame(frame: FrameType) -> bool:
    return is_authors_code(frame.f_code)


def _fileno(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


async def _nothing() -> None:
    """A coroutine to see a task's steps with."""


def _step_type() -> type:
    """The type of what a task has the loop call first, which C code makes."""
    seen: list[Any] = []

    class Seeing:
        def call_soon(self, callback: Any, **_: Any) -> None:
            seen.append(callback)

        def get_debug(self) -> bool:
            return False

    coroutine = _nothing()
    task = asyncio.Task(coroutine, loop=Seeing())  # type: ignore[arg-type] # all that a task asks of it
    task._log_destroy_pending = False  # type: ignore[attr-defined] # it never runs
    coroutine.close()
    return type(seen[0])


_STEP: Final = _step_type()
