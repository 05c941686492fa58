"""What becomes of a process that an author's code forks: it never runs arbd's code, and has Python's own handlers.

    fork in the author's code ──┬─ parent: goes on, knowing nothing of this
                                └─ child: default handlers ─> the author's code ─┬─ os._exit, exec: as in plain Python
                                                                                  └─ comes back ─> ``end_child``

Such a child has copies of the rings, of the limits' pages, of the event loop: it would run the tasks of its parent once
more. So wherever an action returns to arbd's code, and before anything is popped or pushed, a mark in memory is looked
at (``arbd.host.fork_mark``), which tells a child whoever forked it: also a library in C, of which Python knows nothing.

The author's code may also run in the middle of arbd's: ``__del__`` of what is freed there, a weak reference's callback,
a signal handler, the ``__str__`` of an exception, a handler of a logger. A child that Python forks there ends with the
return of that code (``_end_at_return_to_arbd``).
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import thread as executor_threads
from gc import disable as gc_disable  # before a guard wraps them
from gc import enable as gc_enable
from gc import isenabled as gc_isenabled
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from arbd.host import fork_mark, stack_signal, strays
from arbd.host.fork_mark import ForkMark
from arbd.host.posix_timer import TIMER_SIGNAL
from arbd.host.procs import CANCEL_SIGNAL
from arbd.interrupts import may_interrupt

if TYPE_CHECKING:
    import asyncio

#: Signals that ask to end: the supervisor ends its workers after draining.
TERMINATION: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEFAULTS: Final = (*TERMINATION, *strays.candidates(), CANCEL_SIGNAL, TIMER_SIGNAL)

here: ForkMark = fork_mark.NOBODY
"""The mark of this process, once ``watch`` was called."""

_is_hooked = False
_own_handlers: list[object] = []
#: The mask of signals, and whether garbage is collected, by the thread that forks; more than one where a signal's
#: handler has forked just before the mask was set.
_before: dict[int, list[tuple[set[signal.Signals] | set[int], bool]]] = {}
_running_loop: Callable[[], asyncio.AbstractEventLoop | None] | None = None


def watch() -> ForkMark:
    """Have every child that is forked from now on begin with default handlers; the mark that tells it from this
    process. Again in a process that was forked on purpose."""
    global here, _is_hooked
    here = fork_mark.make()
    if not _is_hooked:
        _is_hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=_unblock, after_in_child=_begin_child)
    return here


def pause() -> None:
    """Forks are arbd's own from now on, until ``watch`` is called."""
    global here
    here = fork_mark.NOBODY


def ignore(signum: int, _frame: FrameType | None) -> None:
    """A handler that does nothing. In a child that was forked behind Python's back, it does what the default does."""
    if here is not fork_mark.NOBODY and not here[0]:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


def own_handler(signum: int) -> None:
    """Say that the handler of this signal is arbd's: no child inherits it."""
    _own_handlers.append(signal.getsignal(signum))


def is_own(handler: object) -> bool:
    """Whether a signal handler is arbd's."""
    return handler is ignore or any(handler is own for own in _own_handlers)


def loop_is(running: Callable[[], asyncio.AbstractEventLoop | None]) -> None:
    """Name the function that gives the event loop that runs an action of this process, if one does."""
    global _running_loop
    _running_loop = running


def end_child(raised: BaseException | None = None) -> NoReturn:
    """End a forked child that has come back from the author's code, as Python ends a program: output flushed, and the
    code of a ``SystemExit``, or 1 after any other exception, with its traceback."""
    status = 1
    try:
        status = _status(raised)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:
        status = status or 1
    finally:
        os._exit(status)


def end_if_child(mark: ForkMark, raised: BaseException | None = None) -> None:
    """End this process if it is a forked child; ``mark`` is its parent's."""
    if not mark[0]:
        end_child(raised)


def _status(raised: BaseException | None) -> int:
    if raised is None:
        return 0
    if isinstance(raised, SystemExit):
        if raised.code is None:
            return 0
        if isinstance(raised.code, int):
            return raised.code & 0xFF
        print(raised.code, file=sys.stderr)
        return 1
    traceback.print_exception(raised)
    return 1


def _before_fork() -> None:
    """The last thing before Python forks. Signals are held up until the child has its own handlers: one that asks it to
    end, and came before, would be lost, as ``Process.start(); Process.terminate()`` shows. And what is printed is
    printed once: the child would flush its copy of it, too. No garbage is collected meanwhile: a ``__del__`` that forks
    would wait for a lock that this fork has, and so would a signal's handler."""
    if here is fork_mark.NOBODY or not here[0]:
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    _before.setdefault(threading.get_ident(), []).append((mask, gc_isenabled()))
    gc_disable()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, or whatever the author has put there: not of this fork's making
            pass


def _unblock() -> None:
    before = _before.get(threading.get_ident())
    if before:
        mask, collects = before.pop()
        if collects:
            gc_enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_child() -> None:
    """The first thing that a child runs which Python has forked."""
    if here is fork_mark.NOBODY or here[0]:
        return
    stack_signal.forget()
    for signum in dict.fromkeys(_DEFAULTS):
        if is_own(signal.getsignal(signum)):
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    _unblock()
    _end_at_return_to_arbd()
    loop = _running_loop() if _running_loop is not None else None
    if loop is not None:  # it shares what wakes it with its parent's: it must not turn
        loop.call_soon(end_child)
    _end_after_job()


def _end_at_return_to_arbd() -> None:
    """Where the author's code came in between arbd's or an action's, and forked: have the child end when it returns.
    Not where arbd has called an action or a hook, and looks at the mark when that returns: a profile function makes all
    code of the child slower."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and _is_arbds(frame):  # this one, and wrappers of what forks
        frame = frame.f_back
    handlers = {getattr(signal.getsignal(signum), "__code__", None) for signum in signal.valid_signals()}
    last: FrameType | None = None  # of what came in between
    outermost = frame
    while frame is not None and not _is_arbds(frame):
        code = frame.f_code
        if code.co_name == "__del__" or code in handlers:
            last = frame
        outermost, frame = frame, frame.f_back
    if frame is not None and not may_interrupt(frame):
        last = outermost
    if last is None:
        return

    def end_at_return(returning: FrameType, event: str, _value: object) -> None:
        if event == "return" and returning is last:
            end_child()

    sys.setprofile(end_at_return)


def _is_arbds(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)


def _end_after_job() -> None:
    """Where a job of an executor has forked: have the child end after that job, in place of its parent's next one."""
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code is not executor_threads._worker.__code__:
        frame = frame.f_back
    if frame is None:
        return
    jobs: queue.SimpleQueue[Any] = frame.f_locals["work_queue"]
    while not jobs.empty():
        jobs.get_nowait()
    jobs.put(_LastJob())


class _LastJob:
    """A job of an executor that ends the process."""

    def run(self) -> None:
        end_child()
