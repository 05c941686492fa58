"""Signals, timers and handlers of a worker: what an action leaves of them strikes in no other task, nor in arbd's code.

A handler of the author's is called through ``_shim``, never directly:

    the signal came while an action runs                    the handler runs, and may raise: it is the action's own
    while anything else does, and it is the module's own    it runs, and what it raises is logged
    while anything else does, and an action has left it     nothing: it is late

Signals that would end the worker by default, and that timers, threads and children send (SIGALRM, SIGUSR1, SIGIO, the
real-time ones: ``arbd.host.strays``), have a handler that does nothing, where the author has none: a late one would end
another task with the worker. Everything else is as the author's import left it, but for what arbd needs itself.

Put back in this order: timers off, handlers that do nothing, the mask (what was held up comes now, and does nothing),
the handlers of the baseline.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # without the enums of signal: 300 ns instead of microseconds
import ctypes
import operator
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from arbd import logs
from arbd.host import stack_signal, strays
from arbd.host.posix_timer import TIMER_SIGNAL
from arbd.host.procs import CANCEL_SIGNAL
from arbd.host.stack_signal import COROUTINES_SIGNAL
from arbd.interrupts import is_importing, may_interrupt
from arbd.logs.tracebacks import exc_info_of
from arbd.worker import children
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace, watch

Handler = Callable[[int, FrameType | None], Any]

_REAL, _VIRTUAL, _PROF = (int(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF))
_TIMERS: Final = (_REAL, _VIRTUAL, _PROF)
_OFF: Final = (0.0, 0.0)
_HARMLESS: Final = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
_OURS: Final = (*children.TERMINATION, *_HARMLESS, signal.SIGCHLD, CANCEL_SIGNAL, TIMER_SIGNAL, COROUTINES_SIGNAL)
#: Whose actions code in C may not change: Python ignores the last two, so that a write fails where one would end it.
#: Not SIGCHLD: libuv has a handler in C there while any process of the event loop runs, an action's or a resource's.
_LOOKED_AT: Final = (
    *(*children.TERMINATION, *_HARMLESS, CANCEL_SIGNAL, TIMER_SIGNAL, COROUTINES_SIGNAL),
    *(signal.SIGPIPE, signal.SIGXFSZ),
)
_CANNOT: Final = frozenset({signal.SIGKILL, signal.SIGSTOP})
_ALL: Final = tuple(sorted(int(signum) for signum in signal.valid_signals() - _CANNOT))

_set_handler, _get_handler = _signal.signal, _signal.getsignal
_set_timer, _get_timer = _signal.setitimer, _signal.getitimer
_set_mask = _signal.pthread_sigmask

_theirs: dict[int, Handler] = {}
"""The author's handlers, behind the shim."""

_kept: dict[int, Handler] = {}
"""Those of them that the author's module has set, and no action."""

_torn: list[str] = []
"""The signals whose handlers have raised inside an import: it may never succeed again in this process."""

_async_fails: Callable[[BaseException], object] | None = None


def fails_into(fails: Callable[[BaseException], object] | None) -> None:
    """Name what makes an asynchronous action fail, while one runs: raised in the event loop's own code, an exception
    would break the loop."""
    global _async_fails
    _async_fails = fails


def kinds() -> list[StateKind]:
    """All of them, in the order in which they are put back."""
    return [Timers(), Handlers(), StackSignal()]


def install() -> None:
    """Put wrappers in the place of the functions of ``signal``."""
    replace(signal, "signal", _signal_signal)
    replace(signal, "getsignal", _signal_getsignal)
    for name in ("siginterrupt", "set_wakeup_fd"):
        watch(signal, name, Handlers.name)


# -- handlers: the author's view of them ------------------------------------------------------------------------------


def _signal_signal(signalnum: Any, handler: Any) -> Any:
    """Set a handler. In a worker a function goes behind the shim; the rest is as it was."""
    if not NOTICES.is_armed:
        return _python_signal(signalnum, handler)
    before = _signal_getsignal(signalnum)
    if callable(handler) and not children.is_own(handler) and not isinstance(handler, signal.Handlers):
        _python_signal(signalnum, _shim)  # raises what the author's call would
        _theirs[int(signalnum)] = handler
    else:
        _python_signal(signalnum, handler)
        _theirs.pop(int(signalnum), None)
    NOTICES.changes(Handlers.name)
    return before


def _signal_getsignal(signalnum: Any) -> Any:
    """The handler of a signal, as whoever set it knows it."""
    found = _python_getsignal(signalnum)
    return _theirs.get(int(signalnum), found) if found is _shim else found


_python_signal, _python_getsignal = signal.signal, signal.getsignal


def _shim(signum: int, frame: FrameType | None) -> None:
    handler = _theirs.get(signum)
    if handler is None:
        return
    if not NOTICES.is_armed:  # a forked child's signals are its own
        handler(signum, frame)
        return
    if may_interrupt(frame):
        try:
            handler(signum, frame)
        except BaseException:
            if is_importing(frame):
                _torn.append(_name(signum))
                NOTICES.changes(Handlers.name)
            raise
        return
    is_kept = _kept.get(signum) is handler
    if not is_kept and _async_fails is None:
        return
    try:
        handler(signum, frame)
    except BaseException as exc:
        if _async_fails is not None:
            _async_fails(exc)
        else:
            logs.get_logger("arbd.worker").error("signal_handler_failed", signal=signum, exc_info=exc_info_of(exc))


# -- the kinds --------------------------------------------------------------------------------------------------------


class Timers(StateKind):
    """The three timers of the process, which are off between tasks, and the signals that are blocked."""

    name = "the blocked signals or the timers"

    def __init__(self) -> None:
        changed_by = ((signal, "alarm"), (signal, "setitimer"), (signal, "pthread_sigmask"))
        super().__init__(self.name, _no_value, _no_value, look="quick", changed_by=changed_by)
        self._mask: set[int] = set()

    def remember(self) -> None:
        for timer in _TIMERS:
            _set_timer(timer, 0)
        self._mask = _set_mask(signal.SIG_BLOCK, ())

    def put_back(self) -> str | None:
        blocked = _set_mask(signal.SIG_BLOCK, ())
        if (
            blocked == self._mask
            and _get_timer(_REAL) == _get_timer(_VIRTUAL) == _get_timer(_PROF) == _OFF  # 0.3 µs each
        ):
            return None
        ran = [_set_timer(timer, 0) != _OFF for timer in _TIMERS]
        told = ["a timer was running"] if any(ran) else []
        if blocked != self._mask:
            self._unblock(blocked)
            told.append("signals were blocked or unblocked")
        return ", ".join(told)

    def _unblock(self, blocked: set[int]) -> None:
        """What was held up comes now, and is nobody's: by default it would end the worker."""
        held_up = [signum for signum in _signal.sigpending() & (blocked - self._mask) if signum not in _CANNOT]
        before = {signum: _get_handler(signum) for signum in held_up}
        by_default = [signum for signum, handler in before.items() if handler == signal.SIG_DFL]
        for signum in by_default:
            _set_handler(signum, children.ignore)
        _set_mask(signal.SIG_SETMASK, self._mask)
        _run_handlers()
        for signum in by_default:
            _set_handler(signum, before[signum])


class Handlers(StateKind):
    """The handlers of all signals, as Python and the kernel have them, and the descriptor that signals wake."""

    name = "the signal handlers"

    def __init__(self) -> None:
        super().__init__(self.name, _no_value, _no_value, look="full", adopts=True)
        self._python: list[Any] = []  # by place in ``_ALL``
        self._kernel = b""
        self._children = b""  # what code in C has for SIGCHLD, such as libuv
        self._own: dict[int, Any] = {}

    def remember(self) -> None:
        """Keep what is the author's, and put arbd's own in their places."""
        for signum in strays.unclaimed():
            _set_handler(signum, children.ignore)
        for signum in _OURS:
            self._set_own(signum)
            if (handler := _get_handler(signum)) is not None and not (signum == signal.SIGCHLD and _is_in_c(handler)):
                _set_handler(signum, handler)  # with the flags that Python gives it, as after a putting back
        for signum in _ALL:
            handler = _get_handler(signum)
            if _is_authors(handler):
                _theirs[signum] = handler
                _set_handler(signum, _shim)
        _kept.clear()
        _kept.update(_theirs)
        self._python = list(map(_get_handler, _ALL))
        self._kernel = _kernel_actions()
        self._children = _action_for_children() if _is_in_c(_get_handler(signal.SIGCHLD)) else b""
        _set_wakeup(-1)
        stack_signal.renew()

    def _set_own(self, signum: int) -> None:
        """The handler that arbd needs, where the author's has no business, or there is none."""
        handler = _get_handler(signum)
        if children.is_own(handler):
            self._own.setdefault(signum, handler)
        if signum in self._own:
            _set_handler(signum, self._own[signum])
            _theirs.pop(signum, None)
        elif signum in _HARMLESS and handler == signal.SIG_DFL:
            _set_handler(signum, children.ignore)

    def put_back(self) -> str | None:
        if _torn:
            names = ", ".join(_torn)
            _torn.clear()
            raise Spoiled(f"the handler of {names} has raised inside an import, of which half is loaded now")
        woken = _set_wakeup(-1)  # also where no handler is another: a byte would go to whatever file gets the number
        kernel = _kernel_actions()
        are_lost = _loses_children()
        if woken == -1 and self._is_as_before() and kernel == self._kernel and not are_lost:
            return None
        told = [] if woken == -1 else [f"set_wakeup_fd({woken})"]
        for signum, handler in zip(_ALL, self._python, strict=True):
            is_same = _get_handler(signum) is handler and _theirs.get(signum) is _kept.get(signum)
            is_lost = are_lost and signum == signal.SIGCHLD
            if not is_same or is_lost or (signum in _LOOKED_AT and kernel != self._kernel):
                self._set_back(signum, handler)
            if not is_same:
                told.append(_name(signum))
        _theirs.clear()
        _theirs.update(_kept)
        stack_signal.renew()
        if _kernel_actions() != self._kernel:
            raise Spoiled("a signal handler was set in C, and cannot be put back")
        return ", ".join(told)

    def _is_as_before(self) -> bool:
        if len(_theirs) != len(_kept) or any(_theirs[signum] is not _kept.get(signum) for signum in _theirs):
            return False
        return all(map(operator.is_, map(_get_handler, _ALL), self._python))

    def _set_back(self, signum: int, handler: Any) -> None:
        if handler is None:
            raise Spoiled(f"the handler of {_name(signum)} was not Python's, and cannot be put back")
        if not callable(handler) and handler != signal.SIG_IGN:
            _set_handler(signum, children.ignore)  # what is still to be handled is nobody's
            _run_handlers()
        _set_handler(signum, handler)
        if signum == signal.SIGCHLD and self._children:
            _set_action_for_children(self._children)


class StackSignal(StateKind):
    """The handler in C that writes this process's stacks. The file that it writes to is seen to in
    ``guard.registrations``."""

    name = "the signal for stacks"

    def __init__(self) -> None:
        super().__init__(self.name, _no_value, _no_value, look="full")

    def remember(self) -> None:
        stack_signal.renew()

    def put_back(self) -> str | None:
        if not stack_signal.is_lost():
            return None
        stack_signal.renew()
        return ""


def _name(signum: int) -> str:
    return signal.Signals(signum).name if signum in _NAMED else f"signal {signum}"


def _is_authors(handler: Any) -> bool:
    return callable(handler) and not children.is_own(handler) and handler not in (_shim, signal.default_int_handler)


def _run_handlers() -> None:
    """Python runs the handlers of signals that have come when a function is entered."""


_set_wakeup = _signal.set_wakeup_fd
_NAMED: Final = {int(signum) for signum in signal.Signals}


def _no_value(_: Any = None) -> None:
    """These kinds read and write by their own methods."""


_RT_SIGACTION: Final = 13  # on x86-64. Not sigaction(3): that leaves bytes of its stack in the answer
_ACTION_BYTES: Final = 32  # handler, flags, restorer, mask
_syscall: Final = ctypes.PyDLL(None).syscall  # the GIL is kept, and no types are given: 0.8 µs instead of 2.2
_actions: Final = ctypes.create_string_buffer(len(_LOOKED_AT) * _ACTION_BYTES)
_places: Final = tuple((int(signum), ctypes.byref(_actions, n * _ACTION_BYTES)) for n, signum in enumerate(_LOOKED_AT))


def _kernel_actions() -> bytes:
    """What the kernel does at the signals that concern arbd. Code in C sets that behind Python's back."""
    for signum, place in _places:
        _syscall(_RT_SIGACTION, signum, None, place, 8)
    return _actions.raw


_for_children: Final = ctypes.create_string_buffer(_ACTION_BYTES)
_IGNORED: Final = 1
_NO_ZOMBIES: Final = 2  # the flag SA_NOCLDWAIT


def _action_for_children() -> bytes:
    _syscall(_RT_SIGACTION, int(signal.SIGCHLD), None, _for_children, 8)
    return _for_children.raw


def _set_action_for_children(action: bytes) -> None:
    _syscall(_RT_SIGACTION, int(signal.SIGCHLD), ctypes.create_string_buffer(action, _ACTION_BYTES), None, 8)


def _loses_children() -> bool:
    """Whether the kernel throws away how children end, so that nobody can wait for them."""
    action = _action_for_children()
    handler, flags = int.from_bytes(action[:8], sys.byteorder), int.from_bytes(action[8:16], sys.byteorder)
    return handler == _IGNORED or bool(flags & _NO_ZOMBIES)


def _is_in_c(of_python: Any) -> bool:
    """Whether code in C handles SIGCHLD, where Python knows of no function."""
    handler = int.from_bytes(_action_for_children()[:8], sys.byteorder)
    return not callable(of_python) and handler > _IGNORED
