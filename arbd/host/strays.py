"""Signals that nobody has a use for: logged and ignored, where their default would end the process without a word.

SIGUSR1 and SIGUSR2 (which other daemons have a meaning for), SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT and
the real-time signals. Not those that tell of a fault (SIGSEGV, SIGXCPU and the like), and not SIGQUIT: that ends a
process at once, with a core dump, for whoever wants one.

By a handler that only logs, rather than by ``SIG_IGN``: a program that is started would inherit that they are ignored.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

from arbd.host import dispositions, hangup, stack_signal

_QUIET_S: Final = 1.0  # between two lines of one signal
_DO_NOTHING: Final = (hangup.do_nothing, dispositions.ignored)  # handlers of arbd's own, and as good as none
_NAMES: Final = ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT")


def candidates() -> list[int]:
    """The signals concerned, as far as this system has them; without the one at which this process tells where it is,
    if it does."""
    named = [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]
    real_time = (signum for signum in map(int, signal.valid_signals()) if signum >= signal.SIGRTMIN)
    return [*named, *(signum for signum in real_time if not stack_signal.answers(signum))]


def unclaimed() -> list[int]:
    """Those of them that have their default action, so that one of them would end this process."""
    claimed = _claimed()
    return [signum for signum in candidates() if not claimed >> (signum - 1) & 1]


def ignore(log: Any) -> list[int]:
    """Ignore them from now on, with a line each; those that were. From the main thread.

    One that somebody has a handler for, or ignores, stays so: an author's code, a profiler.
    """
    handler = _handler(log, time.monotonic)
    free = set(unclaimed())
    installed = [signum for signum in candidates() if signum in free or signal.getsignal(signum) in _DO_NOTHING]
    for signum in installed:
        signal.signal(signum, handler)
    return installed


def restore(installed: Iterable[int]) -> None:
    """Give them their defaults back: in a forked child, where they are the author's."""
    for signum in installed:
        signal.signal(signum, signal.SIG_DFL)


def _claimed() -> int:
    """The signals that have no default action here, as a mask; also those that no Python code knows of."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return parse_claimed(status.read())
    except OSError:
        return sum(1 << (int(s) - 1) for s in signal.valid_signals() if signal.getsignal(s) != signal.SIG_DFL)


def parse_claimed(status: str) -> int:
    """The same, from the text of ``/proc/PID/status``."""
    mask = 0
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name in ("SigIgn", "SigCgt"):
            mask |= int(value, 16)
    return mask


def _handler(log: Any, clock: Callable[[], float]) -> Callable[[int, FrameType | None], None]:
    logged_at: dict[int, float] = {}
    process = os.getpid()

    def handle(signum: int, _frame: FrameType | None) -> None:
        now = clock()
        if os.getpid() == process and now - logged_at.get(signum, -_QUIET_S) >= _QUIET_S:
            logged_at[signum] = now
            log.warning("signal_ignored", signal=_name(signum), hint="it has no meaning here")

    return handle


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:  # a real-time signal without a name of its own
        return f"SIGRTMIN+{signum - signal.SIGRTMIN}"
