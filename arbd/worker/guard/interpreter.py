"""The kinds of state that the interpreter and its standard library keep for the whole process."""

from __future__ import annotations

import asyncio
import csv
import decimal
import faulthandler
import gc
import io
import locale
import logging
import multiprocessing
import multiprocessing.context
import socket
import sys
import threading
import tracemalloc
import warnings
from typing import Any, Final

from arbd.worker.guard import loggers
from arbd.worker.guard.kinds import StateKind, Undone
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace, watch

_setlocale = locale.setlocale
_STREAMS: Final = (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w"))
_PROCESSES: Final[Any] = multiprocessing.context._default_context  # it has no public name
_FILTERS: Final = "the filters of warnings"
_LOOPS: Final = tuple(
    (module, name)
    for module in (asyncio, asyncio.events)
    for name in ("set_event_loop", "set_event_loop_policy", "new_event_loop")
)
#: What one function gives and another sets: what it is, the module, and the two.
_VALUES: Final[tuple[tuple[str, Any, str, str], ...]] = (
    ("the recursion limit", sys, "getrecursionlimit", "setrecursionlimit"),
    ("the thread switch interval", sys, "getswitchinterval", "setswitchinterval"),
    ("the flags of loading libraries", sys, "getdlopenflags", "setdlopenflags"),
    (
        "the tracking of where coroutines begin",
        sys,
        "get_coroutine_origin_tracking_depth",
        "set_coroutine_origin_tracking_depth",
    ),
    ("the longest field of csv", csv, "field_size_limit", "field_size_limit"),
    ("the longest int as text", sys, "get_int_max_str_digits", "set_int_max_str_digits"),
    ("the trace function", sys, "gettrace", "settrace"),
    ("the profile function", sys, "getprofile", "setprofile"),
    ("the trace function of threads", threading, "gettrace", "settrace"),
    ("the profile function of threads", threading, "getprofile", "setprofile"),
    ("the default time-out of sockets", socket, "getdefaulttimeout", "setdefaulttimeout"),
    ("the stack size of threads", threading, "stack_size", "stack_size"),
)


def kinds() -> list[StateKind]:
    """All of them, in the order in which they are put back."""
    return [
        *(_value(*row) for row in _VALUES),
        StateKind(
            "the start method of multiprocessing",
            lambda: _PROCESSES._actual_context,
            _restore_start_method,
            changed_by=((multiprocessing, "set_start_method"), (type(_PROCESSES), "set_start_method")),
            adopts=True,
        ),
        _Dialects(),
        StateKind("the name of the thread or the process", _names, _restore_names, look="full"),
        _value("the factory of log records", logging, "getLogRecordFactory", "setLogRecordFactory", adopts=True),
        _value("the class of loggers", logging, "getLoggerClass", "setLoggerClass", adopts=True),
        StateKind("the context of decimals in new threads", _decimals, _restore_decimals, look="full"),
        StateKind(
            "the garbage collector",
            lambda: (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
            _restore_gc,
            changed_by=((gc, "disable"), (gc, "enable"), (gc, "set_threshold"), (gc, "set_debug")),
        ),
        StateKind(
            "the locale",
            lambda: _setlocale(locale.LC_ALL),
            lambda before: _setlocale(locale.LC_ALL, before),
            look="full",
            changed_by=((locale, "setlocale"),),
            describe=lambda _, after: f"it was {after}",
        ),
        StateKind(
            _FILTERS,
            lambda: list(warnings.filters),
            _restore_filters,
            look="full",
            changed_by=((warnings, "filterwarnings"), (warnings, "simplefilter"), (warnings, "resetwarnings")),
            adopts=True,
        ),
        loggers.Loggers(),
        StateKind("sys.path", lambda: list(sys.path), _restore_path, look="quick", describe=_added_to_path),
        _Streams("sys.stdin, stdout or stderr", _streams, _restore_streams, look="quick"),
        StateKind("the hooks of sys and threading", _hooks, _restore_hooks, look="quick"),
        _EventLoop("the event loop policy", _event_loop, _restore_event_loop, look="quick", changed_by=_LOOPS),
        Undone(
            "the planned dump of tracebacks",
            faulthandler.cancel_dump_traceback_later,
            ((faulthandler, "dump_traceback_later"),),
        ),
        StateKind(
            "tracemalloc",
            tracemalloc.is_tracing,
            lambda before: tracemalloc.start() if before else tracemalloc.stop(),
            changed_by=((tracemalloc, "start"), (tracemalloc, "stop")),
        ),
    ]


def install() -> None:
    """Have the end of ``warnings.catch_warnings`` noticed: the filters are then as they were before it."""
    leave: Any = None

    def left(self: warnings.catch_warnings[Any], *exc: object) -> None:
        leave(self, *exc)
        NOTICES.restored(_FILTERS)

    leave = replace(warnings.catch_warnings, "__exit__", left)
    for name in ("trace", "profile"):  # from Python 3.12 on
        watch(threading, f"set{name}_all_threads", f"the {name} function")


def _value(name: str, module: Any, get: str, put: str, *, adopts: bool = False) -> StateKind:
    """A value that one function gives and another sets."""
    read, write = getattr(module, get, lambda: None), getattr(module, put, lambda _: None)
    return StateKind(
        name,
        getattr(read, "_arbd_wrapped", read),
        write,
        changed_by=((module, put),),
        adopts=adopts,
        describe=lambda _, after: f"it was {after!r:.80}",
    )


def _decimals() -> tuple[Any, ...]:
    """All fields but the flags, which calculations raise: in one call, as ``copy`` gets them."""
    *fields, _, traps = decimal.DefaultContext.__reduce__()[1]
    return (*fields, traps)


def _restore_decimals(before: tuple[Any, ...]) -> None:
    context = decimal.DefaultContext
    context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps = before
    for signal in context.traps:
        context.traps[signal] = signal in traps


def _restore_gc(before: tuple[bool, tuple[int, int, int], int]) -> None:
    enabled, threshold, debug = before
    gc.set_threshold(*threshold)
    gc.set_debug(debug)
    (gc.enable if enabled else gc.disable)()


def _restore_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index] # typeshed calls it a Sequence; it is a list
    warnings._filters_mutated()  # type: ignore[attr-defined] # else what was decided by the others stays in force


def _restore_start_method(before: Any) -> None:
    _PROCESSES._actual_context = before


def _names() -> tuple[str, str, dict[str, Any]]:
    """Those of the main thread and of this process; and what authenticates processes of ``multiprocessing``."""
    process: Any = multiprocessing.current_process()
    return (threading.main_thread().name, process._name, dict(process._config))


def _restore_names(before: tuple[str, str, dict[str, Any]]) -> None:
    process: Any = multiprocessing.current_process()
    threading.main_thread().name, process._name, config = before
    process._config.clear()
    process._config.update(config)


class _Dialects(StateKind):
    """The dialects of ``csv``: one that was replaced or taken away is put back, one that was added stays."""

    def __init__(self) -> None:
        changed_by = tuple((csv, name) for name in ("register_dialect", "unregister_dialect"))
        super().__init__("the dialects of csv", _dialects, lambda _: None, changed_by=changed_by, adopts=True)
        self._register = csv.register_dialect

    def put_back(self) -> str | None:
        now = self._read()
        changed = {name: each for name, each in self._baseline.items() if now.get(name) is not each}
        for name, dialect in changed.items():
            self._register(name, dialect)
        self.remember()
        return ", ".join(changed) or None


def _dialects() -> dict[str, Any]:
    return {name: csv.get_dialect(name) for name in csv.list_dialects()}


def _restore_path(before: list[str]) -> None:
    sys.path[:] = before


def _added_to_path(before: list[str], after: list[str]) -> str:
    return ", ".join(str(each) for each in after if each not in before)[:200]


def _streams() -> tuple[object, ...]:
    """The streams, and whether they are closed; a stand-in may not know that."""
    stdin, stdout, stderr = sys.stdin, sys.stdout, sys.stderr
    try:
        return (stdin, stdout, stderr, stdin.closed, stdout.closed, stderr.closed)
    except AttributeError:
        return (stdin, stdout, stderr, False, False, False)


def _restore_streams(before: tuple[Any, ...]) -> None:
    for (name, fd, mode), stream, was_closed in zip(_STREAMS, before[:3], before[3:], strict=True):
        is_lost = getattr(stream, "closed", False) and not was_closed
        setattr(sys, name, _reopened(fd, mode) if is_lost else stream)


def _reopened(fd: int, mode: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(fd, mode, closefd=False), "utf-8", "backslashreplace")


class _Streams(StateKind):
    """The streams of ``sys``. In place of one that was closed there is another then, on the same descriptor."""

    def put_back(self) -> str | None:
        if self._read() == self._baseline:
            return None
        self._write(self._baseline)
        self.remember()
        return "replaced or closed"


def _hooks() -> tuple[object, ...]:
    return (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook, threading.excepthook)


def _restore_hooks(before: tuple[Any, ...]) -> None:
    sys.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook, threading.excepthook = before


def _event_loop() -> tuple[object, object, bool, object]:
    policy = asyncio.get_event_loop_policy()
    local = getattr(policy, "_local", None)  # no public call tells without making a loop
    set_called = bool(getattr(local, "_set_called", False))
    return (policy, getattr(local, "_loop", None), set_called, asyncio._get_running_loop())


def _restore_event_loop(before: tuple[Any, Any, bool, Any]) -> None:
    policy, loop, was_set, running = before
    asyncio._set_running_loop(running)  # none; who has left one there would keep every other from running
    if asyncio.get_event_loop_policy() is not policy:
        asyncio.set_event_loop_policy(policy)
    if was_set:
        policy.set_event_loop(loop)
    elif (local := getattr(policy, "_local", None)) is not None:
        policy._local = type(local)()  # as before anybody asked: the next who does is given a new loop


class _EventLoop(StateKind):
    """The policy, and the loop that ``asyncio.get_event_loop`` gives outside of coroutines. The loop is put back
    without a word: ``asyncio.run`` leaves it changed."""

    def put_back(self) -> str | None:
        if _event_loop() == self._baseline:
            return None
        policy_before, policy_now = self._baseline[0], asyncio.get_event_loop_policy()
        super().put_back()
        return None if policy_now is policy_before else f"it was a {type(policy_now).__name__}"
