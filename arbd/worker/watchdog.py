"""A bound on a phase of a worker's life that does not depend on the code which is running.

A thread waits for the end of the phase. The worker's timer interrupts Python code only; this also ends a process that
waits in C, as long as that lets other threads run. Code that holds Python's lock is left to the supervisor's kill.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from arbd import logs


class Watchdog:
    """Calls ``on_late`` with the step under way, in a thread, if its block takes longer than ``seconds``. ``on_late``
    ends the process."""

    def __init__(self, seconds: float, on_late: Callable[[str], NoReturn]) -> None:
        self.step = ""
        self._seconds = seconds
        self._on_late = on_late
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="arbd-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        try:
            self._thread.start()
        except RuntimeError as exc:  # no thread is to be had; the supervisor watches, too
            logs.get_logger("arbd.worker").warning("no_watchdog", reason=str(exc))
            self._done.set()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        if not self._done.is_set():
            self._done.set()
            self._thread.join()  # if it is just ending the process, this never returns

    def _watch(self) -> None:
        if not self._done.wait(self._seconds):
            self._on_late(self.step)
