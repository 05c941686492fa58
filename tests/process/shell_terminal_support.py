"""A program at a terminal of its own: what it is sent there, and what it shows."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 20.0
_CONTROLS: Final = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|[\x07\r]")


class Terminal:
    """The master of a pseudo-terminal, 100 columns wide, at which a process has its standard streams."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._shown = ""

    def send(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def until(self, text: str) -> None:
        """Wait until this is shown behind what was waited for last; control sequences do not count."""
        deadline = time.monotonic() + _TIMEOUT_S
        while text not in self._shown:
            left_s = deadline - time.monotonic()
            is_readable = left_s > 0 and select.select([self._master], [], [], left_s)[0]
            assert is_readable, f"no {text!r} in {self._shown!r}"
            self._shown = _overwritten(self._shown + os.read(self._master, 65536).decode(errors="replace"))
        self._shown = self._shown.partition(text)[2]


def _overwritten(text: str) -> str:
    """What stands there when the cursor has gone back and other letters were written over the old ones."""
    line: list[str] = []
    column = 0
    for letter in _CONTROLS.sub("", text):
        if letter == "\b":
            column = max(0, column - 1)
        else:
            line[column : column + 1] = [letter]
            column += 1
    return "".join(line)


@contextmanager
def at_terminal(argv: Sequence[str | Path], environ: Mapping[str, str], cwd: Path) -> Iterator[Terminal]:
    """A process at a terminal that is its controlling one; both end with this block."""
    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
        process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    finally:
        os.close(slave)
    try:
        yield Terminal(master)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        os.close(master)
