"""One session of ``arbd top`` at a terminal: keys, signals and answers come, frames go; one thing after the other.

           ┌── keys ── Control ── request ──> Asking ── threads ──> daemon
wait for ──┼── signals: another size, stop and go on, end                │
           └── answers ──> Control <─────────────────────────────────────┘
    then draw, if anything has changed
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from arbd.cli.top.asking import Answer, Asking
from arbd.cli.top.control import Control
from arbd.cli.top.keys import Keys
from arbd.cli.top.screen import Screen
from arbd.cli.top.sightings import Sighting
from arbd.cli.top.signals import ENDING, Signals, end_by
from arbd.cli.top.view import frame
from arbd.control.protocol import ControlRequest

INTERVAL_S: Final = 1.0
_SOON_S: Final = 0.15  # after a command: what it changed can be seen then
_ESCAPE_S: Final = 0.05  # after the byte of the key Esc, with which a sequence may begin as well


def run(path: Path, first: Sighting) -> None:
    """Show the daemon at ``path`` until the user quits. Ends this process by the signal that ended the session, if
    there was one other than Ctrl-C."""
    ended_by = 0
    try:
        with ExitStack() as opened:
            signals = opened.enter_context(Signals())
            screen = opened.enter_context(Screen(sys.stdin.fileno(), sys.stdout.fileno()))
            ended_by = _Session(screen, signals, Asking(path, signals.ring), first).run()
    except OSError as error:
        if not _is_gone(error):
            raise
    if ended_by not in (0, signal.SIGINT):
        end_by(ended_by)


def _is_gone(error: OSError) -> bool:
    """Whether this says that the terminal is not there any more: then there is nobody left to be told."""
    return error.errno in (errno.EIO, errno.ENXIO)


class _Session:
    def __init__(self, screen: Screen, signals: Signals, asking: Asking, first: Sighting) -> None:
        self._screen = screen
        self._signals = signals
        self._asking = asking
        self._keys = Keys()
        self._control = Control()
        self._control.looked(first)
        self._next_look_at = first.at + INTERVAL_S
        self._ended_by = 0
        self._encoding = sys.stdout.encoding or "utf-8"

    def run(self) -> int:
        """Until it is over; the signal that ended it, or 0."""
        while not self._control.is_over and not self._ended_by:
            self._draw()
            self._wait()
        return self._ended_by

    def _draw(self) -> None:
        width, height = self._screen.size()
        lines = frame(self._control, time.monotonic(), width, height)
        self._screen.draw(painted(lines, width), self._encoding)

    def _wait(self) -> None:
        now = time.monotonic()
        timeout_s = _ESCAPE_S if self._keys.pending else max(0.0, self._next_look_at - now)
        stdin, waker, output = sys.stdin.fileno(), self._signals.waker, self._screen.output
        writing = [output] if self._screen.wants_to_write else []
        readable, writable, _ = select.select([stdin, waker], writing, [], timeout_s)
        if waker in readable:
            for signum in self._signals.take():
                self._take_signal(signum)
            for answer in self._asking.answers():
                self._take_answer(answer)
        if writable:
            self._screen.flush()
        if stdin in readable and not self._ended_by:
            self._read(stdin)
        elif self._keys.pending:
            self._type(self._keys.end())
        if time.monotonic() >= self._next_look_at:
            self._next_look_at = time.monotonic() + INTERVAL_S
            self._asking.look(self._control.operations)

    def _read(self, stdin: int) -> None:
        data = os.read(stdin, 1024)
        if not data:  # nobody can type any more
            self._control.is_over = True
        self._type(self._keys.feed(data))

    def _type(self, keys: list[str]) -> None:
        for key in keys:
            if key == "ctrl-l":
                self._screen.clear()
                continue
            request = self._control.key(key, time.monotonic())
            if request is not None:
                self._command(request)
            if self._control.question is not None:
                # An answer is one to what was read: not what was typed, or pasted, before the question was there.
                self._screen.forget()
                return

    def _command(self, request: ControlRequest) -> None:
        if not self._asking.command(request):
            self._control.refused("the daemon has not answered the last command yet", time.monotonic())

    def _take_signal(self, signum: int) -> None:
        if signum in ENDING:
            self._ended_by = self._ended_by or signum
        elif signum == signal.SIGTSTP:
            self._screen.leave()
            self._signals.stop_here()
            self._screen.enter()
        elif signum == signal.SIGCONT:
            self._screen.enter()  # whoever had the terminal meanwhile has changed it
        else:
            self._screen.clear()

    def _take_answer(self, answer: Answer) -> None:
        now = time.monotonic()
        if answer.is_look:
            if isinstance(answer.value, Sighting):
                self._control.looked(answer.value)
            else:
                self._control.not_looked(answer.refusal)
            return
        self._next_look_at = min(self._next_look_at, now + _SOON_S)
        if answer.value is None or isinstance(answer.value, Sighting):
            self._control.refused(answer.refusal, now)
        else:
            self._control.answered(answer.value, now)


def painted(lines: list[Text], width: int) -> list[str]:
    """Lines as a terminal shows them, with the colours that it has."""
    console = Console(file=StringIO(), force_terminal=True, width=width, highlight=False, markup=False, emoji=False)
    painted = []
    for line in lines:
        with console.capture() as captured:
            console.print(line, end="", no_wrap=True, overflow="crop", soft_wrap=True)
        painted.append(captured.get())
    return painted
