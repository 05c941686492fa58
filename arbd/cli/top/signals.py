"""Signals while a full screen is shown: each is noted and wakes whoever waits, so that nothing is done in a handler.

Every signal that would end a process, and can be caught, is one: the terminal is to be put back before.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

_NAMES: Final = (
    *("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU"),
    *("SIGIO", "SIGPWR", "SIGSTKFLT", "SIGABRT", "SIGSYS", "SIGTRAP"),
)
ENDING: Final = frozenset(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_NOTED: Final = ENDING | {signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT}
_ALWAYS: Final = (signal.SIGWINCH, signal.SIGCONT)  # ignored or not, they tell that the screen is to be drawn anew


class Signals:
    """The signals that came inside a ``with`` block. ``waker``: a descriptor that can be read when one is there; other
    threads may write to ``bell`` to wake whoever waits, too."""

    def __init__(self) -> None:
        self._came: list[int] = []
        self._before: dict[int, Any] = {}
        self.waker, self.bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self.bell, warn_on_full_buffer=False)
        for signum in _NOTED:
            # What is ignored stays so: SIGHUP under nohup; SIGTSTP where nobody would have a stopped process go on.
            if signum in _ALWAYS or signal.getsignal(signum) != signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)  # None: one that is not Python's
        signal.set_wakeup_fd(-1)
        bell, self.bell = self.bell, -1  # a thread that is late rings nobody, whoever has that number then
        os.close(self.waker)
        os.close(bell)

    def take(self) -> list[int]:
        """Those that came since, in their order."""
        try:
            while os.read(self.waker, 4096):
                pass
        except BlockingIOError:
            pass
        came, self._came = self._came, []
        return came

    def ring(self) -> None:
        """Wake whoever waits; from any thread."""
        try:
            os.write(self.bell, b"\0")
        except OSError:
            pass  # it is full, so whoever waits is being woken; or it is closed, and nobody waits any more

    def stop_here(self) -> None:
        """Stop this process as Ctrl-Z does; returns when it goes on."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note)

    def _note(self, signum: int, _: FrameType | None) -> None:
        self._came.append(signum)


def end_by(signum: int) -> None:
    """End this process by that signal, as it would have ended without a handler."""
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signal.Signals(signum))
