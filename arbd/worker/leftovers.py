"""What an action leaves on the event loop, and what becomes of it; ``worker_loop`` tells whose each thing is.

A context variable names the action in whose code something was made; tasks, timers and asynchronous generators are
noted with it. What a resource or the module has on the loop was made elsewhere, and stays:

    task                    cancelled, and waited for, a moment; one that does not end spoils the worker
    timer, call_soon        cancelled, if the author's code asked for it or is what it calls. Those of libraries stay: a
                            pool's own may have been set while an action used it
    add_reader, add_writer  removed, by the same rule
    server                  closed, and what it has accepted
    connection, pipe        closed, if its protocol is a class of the author's
    async generator         closed
    busy executor           replaced: threads that sleep on would keep the next action's from starting. Resources have
                            one of their own
    handlers, factory       put back

A thread that an action has started belongs to it (``Thread.start`` marks it), though its context is empty. What is made
late, by something of an action that has ended, is refused, unless somebody waits for it: ``arbd.worker.thread_calls``.

Tasks are noted by the loop's factory; those that were made past it are looked for among all that the loop has. A
context that an action gives to what it makes, and that knows no action, knows this one until it ends.
"""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from contextvars import Context, Token
from typing import Any, Final

from arbd.worker.thread_calls import (
    BELONGS_TO,
    Owner,
    context_of,
    coroutine_in,
    leads_to_waiter,
)

_MOST_S: Final = 0.1  # for what was cancelled to end
_ROUNDS: Final = 3  # what is cancelled may start something else
_MOST_NAMES: Final = 10
NOWHERE: Final[Any] = object()
# Python keeps its tasks here; from 3.14 on elsewhere, and only those here that are not written in C.
_KNOWN_TASKS: Final[Any] = (
    getattr(asyncio.tasks, "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks", None)
    if sys.version_info < (3, 14)
    else None
)
apart_tasks: Final[weakref.WeakSet[asyncio.Task[Any]]] = weakref.WeakSet()
"""Tasks that were made by the factory, in the code of no action."""


class Leftovers(Owner):
    """What was made on the loop in the code of one action, and has not ended."""

    __slots__ = (
        "connections",
        "contexts",
        "generators",
        "is_of_action",
        "is_over",
        "names",
        "servers",
        "soon",
        "stuck",
        "tasks",
        "timers",
        "watched",
    )

    def __init__(self, *, is_of_action: bool = True) -> None:
        self.is_of_action = is_of_action
        self.is_over = False
        self.tasks: set[weakref.ref[asyncio.Task[Any]]] = set()
        self.generators: set[weakref.ref[AsyncGenerator[Any, Any]]] = set()
        self.soon: set[weakref.ref[Fenced]] = set()
        self.connections: set[Any] = set()
        self.contexts: list[tuple[Context, Token[Owner | None]]] = []
        self.servers: set[weakref.ref[Any]] = set()
        self.timers: list[asyncio.TimerHandle] = []
        self.watched: set[Watched] = set()
        self.names: list[str] = []
        self.stuck: list[str] = []

    def __bool__(self) -> bool:
        return bool(
            self.timers
            or self.tasks
            or self.generators
            or self.soon
            or self.servers
            or self.connections
            or self.contexts
            or self.watched
        )

    async def cancel(self, deadline: float) -> None:
        """Cancel what is left. The action has ended, within its time; ``deadline`` bounds this, too."""
        until = time.monotonic() + min(_MOST_S, max(0.01, (deadline - time.monotonic()) / 2))
        now = asyncio.get_running_loop().time()
        for timer in self.timers:
            if not timer.cancelled() and timer.when() > now:
                self.names.append(f"a timer for {_name(_callback(timer))}")
                timer.cancel()
        self._remove_watched()
        self._close_servers()
        for _ in range(_ROUNDS):
            left = self._left()
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=max(0.001, until - time.monotonic()))
            self.names += [_name(task.get_coro()) for task in left]
        self.stuck += [_name(task.get_coro()) for task in self._left()]
        for generator in alive(self.generators):
            await self._close(generator, until)
        self._remove_watched()
        self._close_servers()
        self.names += [f"call_soon of {_name(each.callback)}" for each in alive(self.soon) if not each.ran]
        self._leave_contexts()
        self.is_over = True

    def find_tasks(self) -> None:
        """Note tasks that were made past the loop's factory: by their class, or by a factory of the action's."""
        if _KNOWN_TASKS is not None and len(_KNOWN_TASKS.data) <= 1:  # there is only the one that asks
            return
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            context = context_of(task)
            left = NOWHERE if context is None else context.get(BELONGS_TO, NOWHERE)
            if left is None or (left is NOWHERE and task in apart_tasks):
                continue
            note(self.tasks, task)

    def enter(self, context: Context) -> None:
        """Have what is made in this context belong to the action, if it says nothing else."""
        if context.get(BELONGS_TO, NOWHERE) is NOWHERE:
            with suppress(RuntimeError):  # somebody runs in it just now
                self.contexts.append((context, context.run(BELONGS_TO.set, self)))

    def _leave_contexts(self) -> None:
        contexts, self.contexts = self.contexts, []
        for context, before in contexts:
            with suppress(RuntimeError):
                context.run(BELONGS_TO.reset, before)

    def _left(self) -> list[asyncio.Task[Any]]:
        self.find_tasks()
        current = asyncio.current_task()
        return [task for task in alive(self.tasks) if not task.done() and task is not current]

    def _remove_watched(self) -> None:
        unwatch = getattr(asyncio.get_running_loop(), "unwatch", None)
        watched, self.watched = self.watched, set()
        for add, fd in watched:
            try:
                if unwatch is not None and (callback := unwatch(self, add, fd)) is not None:
                    self.names.append(f"{add} of {_name(callback)}")
            except Exception as exc:  # such as: a transport has the number now
                self.stuck.append(f"{add} of file {fd} ({type(exc).__name__})")

    def _close_servers(self) -> None:
        servers, self.servers = self.servers, set()
        for server in alive(servers):
            if server.is_serving() or server.sockets:
                self.names.append("a server")
                server.close()
        connections, self.connections = self.connections, set()
        for connection in connections:
            if not connection.is_closing():
                self.names.append("a connection")
                getattr(connection, "abort", connection.close)()

    async def _close(self, generator: AsyncGenerator[Any, Any], until: float) -> None:
        if getattr(generator, "ag_frame", None) is None or getattr(generator, "ag_running", False):
            return
        self.names.append(_name(generator))
        try:
            async with asyncio.timeout(max(0.001, until - time.monotonic())):
                await generator.aclose()
        except Exception as exc:  # its clean-up: nobody else's business
            self.names[-1] += f" (closed with {type(exc).__name__})"


Watched = tuple[str, int]
"""``add_reader`` or ``add_writer``, and the file descriptor."""


class Fenced:
    """A callback that is not called any more once its action has ended."""

    __slots__ = ("__weakref__", "_left", "callback", "ran")

    def __init__(self, left: Leftovers, callback: Callable[..., Any]) -> None:
        self._left = left
        self.callback = callback
        self.ran = False

    def __call__(self, *args: Any) -> None:
        self.ran = True
        if not self._left.is_over:
            self.callback(*args)


class Posted(Fenced):
    """A call that a thread has posted; whose it is shows when it is called."""

    __slots__ = ("_is_authors",)

    def __init__(self, left: Any, callback: Callable[..., Any], *, is_authors: bool) -> None:
        super().__init__(left, callback)
        self._is_authors = is_authors

    def __call__(self, *args: Any) -> None:
        self.ran = True
        left: Any = self._left
        if left.is_over:
            if not self._is_authors or leads_to_waiter((self.callback, *args)):
                left = getattr(asyncio.get_running_loop(), "running", None)
            elif coroutine_in(self.callback) is None:
                return
        before = BELONGS_TO.set(left)
        try:
            self.callback(*args)
        finally:
            BELONGS_TO.reset(before)


def shown(names: Iterable[str]) -> str:
    """Names in one line, each once with how often there is such a thing."""
    counted = Counter(names)
    parts = [name if times == 1 else f"{name} x{times}" for name, times in counted.most_common(_MOST_NAMES)]
    return ", ".join(parts) + (f" and {len(counted) - _MOST_NAMES} more" if len(counted) > _MOST_NAMES else "")


def first_iteration(before: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """The hook that is called with each asynchronous generator that is begun; it also calls the one ``before``."""

    def begun(generator: Any) -> None:
        if before is not None:
            before(generator)
        left = BELONGS_TO.get()
        if left is not None:
            note(left.generators, generator)

    return begun


def note(where: set[Any], thing: Any) -> None:
    """Note something for as long as it lives."""
    where.add(weakref.ref(thing, where.discard))


def alive(where: set[Any]) -> list[Any]:
    """What of it still lives."""
    return [thing for ref in list(where) if (thing := ref()) is not None]


def _callback(timer: Any) -> Any:
    return getattr(timer, "_callback", timer)


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or type(thing).__qualname__)[:200]
