"""Asking another process for its Python stacks: the file that it writes them into, and the signal that asks.

    ask ─> is it there, does it run, does it handle the signal? ──no──> why not
        ─> rewind the file ─> STACKS_SIGNAL ─> handled? (the kernel tells) ─> text

The other end is ``arbd.host.stack_signal``. The file is a memfd that cannot grow, so what comes is bounded whoever
writes; its one position, which both ends share, tells how much was written. The other process is an author's, and can
write there what it likes: what is read is text without control characters, and nothing depends on it.

A process that does not handle the signal is not sent it: the default would end it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from typing import Final

from arbd.host import memory, process_facts
from arbd.host.process_facts import ProcessFacts
from arbd.host.stack_signal import COROUTINES_SIGNAL, STACKS_SIGNAL

BYTES: Final = 256 * 1024  # a hundred threads of thirty frames each; it takes no memory before it is written
_FRESH_S: Final = 1.0  # an answer that is asked for again meanwhile is waited for, not asked for once more
_CONTROLS: Final = re.compile(r"[^\n\x20-\x7e]")
_RUNS_LOOP: Final = "/arbd/worker/aio.py"
_SIGNAL_NAME: Final = f"signal {int(STACKS_SIGNAL)} (SIGRTMIN+{int(STACKS_SIGNAL) - signal.SIGRTMIN})"


class StackDump:
    """The stacks of one process. ``send`` sends it a signal, and raises ``ProcessLookupError`` if it has ended."""

    def __init__(self) -> None:
        self.fd = memory.create("arbd-stacks", BYTES)
        self._asked_at = 0.0
        self._is_open = False  # it was asked, and the answer is not complete
        self._blocked_before = False
        self._seen = 0
        self._is_adding = False  # it was asked for its coroutines as well
        self._before_more = 0

    def close(self) -> None:
        """Give the file back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def ask(self, pid: int, send: Callable[[int], object]) -> str | None:
        """Ask; why there is no use in it, or ``None``: look whether it ``is_done``."""
        if (self._is_open or self._is_adding) and time.monotonic() - self._asked_at < _FRESH_S:
            return None
        facts = process_facts.look(pid)
        if facts is None or facts.has_ended:
            return "it has ended"
        if not facts.is_caught(STACKS_SIGNAL):
            return f"it does not handle {_SIGNAL_NAME}: it is only just starting, or its code has taken that away"
        os.lseek(self.fd, 0, os.SEEK_SET)
        self._asked_at, self._is_open = time.monotonic(), True
        self._blocked_before, self._seen = facts.is_blocked(STACKS_SIGNAL), 0
        if not facts.is_pending(STACKS_SIGNAL):  # such signals are queued, and nobody needs two answers
            try:
                send(STACKS_SIGNAL)
            except OSError as error:
                self._is_open = False
                return "it has ended" if isinstance(error, ProcessLookupError) else error.strerror or str(error)
        return self._stopped(facts)

    def is_done(self, pid: int) -> bool:
        """Whether all that was asked for is there; or will not be, because it has ended or is stopped."""
        facts = process_facts.look(pid)
        if facts is None or facts.has_ended or facts.is_stopped:
            return True
        written = self._written()
        was_seen, self._seen = written == self._seen, written
        if facts.is_pending(STACKS_SIGNAL) or not written:
            return False
        if self._blocked_before or facts.threads > 1:  # it may be another thread that writes: of that nobody can tell
            self._is_open = not was_seen
        else:  # the kernel blocks a signal in the thread that handles it
            self._is_open = facts.is_blocked(STACKS_SIGNAL)
        return not self._is_open

    def ask_for_coroutines(self, pid: int, send: Callable[[int], object]) -> bool:
        """After its stacks are there: ask for its coroutines, if it has an event loop and handles that signal; whether
        there is an answer to look for (``has_more``)."""
        if self._is_adding:
            return True
        if _RUNS_LOOP not in self.text():
            return False
        facts = process_facts.look(pid)
        if facts is None or not facts.is_caught(COROUTINES_SIGNAL) or facts.is_pending(COROUTINES_SIGNAL):
            return False
        self._before_more = self._written()
        try:
            send(COROUTINES_SIGNAL)
        except OSError:
            return False
        self._is_adding = True
        return True

    def has_more(self) -> bool:
        """Whether it has answered that. It writes in one piece."""
        return self._written() != self._before_more

    def wait_no_more(self) -> None:
        """Look no more whether it ``has_more``: whoever asks next asks anew."""
        self._is_adding = False

    def text(self, limit: int = BYTES) -> str:
        """What it has written; at most ``limit`` characters, of the end, where its main thread is."""
        try:
            written = os.pread(self.fd, min(self._written(), BYTES), 0).decode("ascii", "replace")
        except OSError:
            return ""
        clean = _CONTROLS.sub("?", written).strip("\n")
        return clean if len(clean) <= limit else f"({len(clean) - limit} characters left out)\n{clean[-limit:]}"

    def why_not(self, pid: int) -> str | None:
        """Why it has not answered, or not all; ``None``: it has."""
        facts = process_facts.look(pid)
        if facts is None or facts.has_ended:
            return "it has ended"
        if not self._is_open:
            return None
        if stopped := self._stopped(facts):
            return stopped
        if facts.is_pending(STACKS_SIGNAL):
            if facts.is_blocked(STACKS_SIGNAL):
                return f"it blocks {_SIGNAL_NAME}"
            return f"it has not come to answer: it is {facts.in_words}"
        if self._written() == 0:
            return f"it has not answered: its code has taken {_SIGNAL_NAME} away, or has closed the descriptor"
        return "it has not answered in time; there may be more"

    def _stopped(self, facts: ProcessFacts) -> str | None:
        return f"it is {facts.in_words}, and answers when it goes on (SIGCONT)" if facts.is_stopped else None

    def _written(self) -> int:
        try:
            return os.lseek(self.fd, 0, os.SEEK_CUR)
        except OSError:
            return 0
