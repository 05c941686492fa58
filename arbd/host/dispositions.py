"""Signal handlers and timers that foreign code has left in this process, and how to put them out of the way.

    stop_timers()     nothing that was to strike later does: interval timers, and the watchdog of ``faulthandler``;
                      signals that are pending already are dropped
    set_aside()       its handlers do nothing any more; what they were is returned, but those that are arbd's to decide
    put_back(them)    in a child that foreign code runs in again

The zygote needs it. It runs no code of the author's after the import, and an exception of such a handler would end it,
and all workers with it. A handler in C, of a library, is not seen by Python; where arbd needs the signal it is replaced
all the same, because setting a handler does that whoever had set the one before.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection, Mapping
from types import FrameType
from typing import Any, Final

Handler = Callable[[int, FrameType | None], Any]

#: Python sets it itself, for every process.
_OF_PYTHON: Final = frozenset({signal.SIGPIPE})
_INTERVAL_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def ignored(_signum: int, _frame: FrameType | None) -> None:
    """A handler that does nothing. Not ``SIG_IGN``: what is started by exec would inherit that."""


def stop_timers() -> None:
    """Stop every timer, also one whose signal is blocked and has come."""
    for timer in _INTERVAL_TIMERS:
        signal.setitimer(timer, 0)
    faulthandler = sys.modules.get("faulthandler")
    if faulthandler is not None:
        faulthandler.cancel_dump_traceback_later()
    for signum in signal.sigpending() - {signal.SIGCHLD}:  # ignoring that would reap children
        before = signal.getsignal(signum)
        if before is not None:  # else it is a library's, in C
            signal.signal(signum, signal.SIG_IGN)  # which drops it
            signal.signal(signum, before)


def set_aside(*, for_good: Collection[int] = ()) -> dict[int, Handler]:
    """Have the handlers that foreign code has set do nothing; them, by signal, without those ``for_good``."""
    found: dict[int, Handler] = {}
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals() - _OF_PYTHON:
        handler = signal.getsignal(signum)
        if callable(handler) and handler not in (ignored, signal.default_int_handler):
            signal.signal(signum, ignored)
            if signum not in for_good:
                found[int(signum)] = handler
    return found


def put_back(handlers: Mapping[int, Handler]) -> None:
    """Set these handlers again."""
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
