"""A terminal with a command in it: a pty, a session leader that does what a shell does for its jobs, and what is seen.

The leader puts the command into the foreground; when the command stops, it takes the terminal back, and by SIGUSR1 it
has it go on (`fg`). It ends as the command has ended.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from daemon_support import eventually

_LEADER = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
ready, go = os.pipe()
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.close(go)
    os.read(ready, 1)
    for each in (signal.SIGTTOU, signal.SIGINT, signal.SIGQUIT):
        signal.signal(each, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])
def foreground(*_):
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
signal.signal(signal.SIGUSR1, foreground)
while os.getpgid(job) != job:
    pass
os.tcsetpgrp(0, job)
os.close(go)
with open(sys.argv[1] + ".partial", "w") as file:
    file.write(str(job))
os.rename(sys.argv[1] + ".partial", sys.argv[1])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpgrp())
os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
"""
_TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|([^\x1b]+)|\x1b", re.DOTALL)


class Terminal:
    """A command in a terminal of its own."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        self.resize(*size)
        self.before: list[Any] = termios.tcgetattr(self._master)
        self.raw = ""
        self._unparsed = b""
        self._rows: dict[int, str] = {}
        self._row = 0
        self.is_full_screen = False
        self._job = directory / "job"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ARBD_", "PROVIDER_"))}
        self._leader = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _LEADER, str(self._job), *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env=clean | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)} | dict(env or {}),
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        for pid in (self._job.exists() and self.pid, self._leader.pid):
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self._leader.wait()
        if self._master >= 0:
            os.close(self._master)

    @property
    def pid(self) -> int:
        """The command's process."""
        return int(eventually(lambda: self._job.exists() and self._job.read_text()))

    # -- what is done to it --------------------------------------------------------------------------------

    def type(self, text: str) -> None:
        """Type, or paste, that."""
        os.write(self._master, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size; whoever is in the foreground is told by SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def signal(self, signum: int) -> None:
        """Send the command a signal."""
        os.kill(self.pid, signum)

    def foreground(self) -> None:
        """Have the command go on, as ``fg`` does."""
        os.kill(self._leader.pid, signal.SIGUSR1)

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._master)
        self._master = -1

    # -- what is seen --------------------------------------------------------------------------------------

    def read(self) -> str:
        """What there is to see, line by line."""
        try:
            while data := os.read(self._master, 65536):
                self._unparsed += data
        except OSError:  # nothing more for now, or at all
            pass
        text, self._unparsed = self._unparsed.decode("utf-8", "replace"), b""
        self.raw += text
        for private, numbers, final, plain in _TOKEN.findall(text):
            self._take(private, numbers, final, plain)
        return "\n".join(self._rows[row].rstrip() for row in sorted(self._rows))

    def _take(self, private: str, numbers: str, final: str, plain: str) -> None:
        if plain:
            self._rows[self._row] = self._rows.get(self._row, "") + plain
        elif private and numbers == "1049":
            self.is_full_screen = final == "h"
            self._rows.clear()
        elif final == "J":
            self._rows.clear()
        elif final == "H":
            self._row = int(numbers.partition(";")[0] or 1)
            self._rows[self._row] = ""

    def shows(self, text: str, timeout_s: float = 20.0) -> str:
        """Wait until that is to be seen; all that is then."""
        try:
            return eventually(lambda: text in (seen := self.read()) and seen, timeout_s)
        except AssertionError:
            raise AssertionError(f"{text!r} is not to be seen, but\n{self.read()}") from None

    def attributes(self) -> list[Any]:
        """The state of the terminal's line."""
        return termios.tcgetattr(self._master)

    @property
    def is_as_before(self) -> bool:
        """Whether nobody could tell that a full screen has been there."""
        self.read()
        return (
            self.attributes() == self.before
            and not self.is_full_screen
            and self.raw.rfind("\x1b[?25h") > self.raw.rfind("\x1b[?25l")
        )

    def is_stopped(self) -> bool:
        """Whether the command was stopped, and its leader has the terminal."""
        if os.tcgetpgrp(self._master) != self._leader.pid:
            return False
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def exit_code(self, timeout_s: float = 20.0) -> int:
        """Wait for the command's end; its code, 128 and the signal's number if it was ended by one."""

        def ended() -> bool:
            if self._master >= 0:
                self.read()
            return self._leader.poll() is not None

        eventually(ended, timeout_s)
        return self._leader.returncode
