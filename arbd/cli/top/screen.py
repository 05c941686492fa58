"""The terminal while a full screen is shown: its keys come one by one, and it is put back as it was, whatever happens.

    enter ──> other screen, no cursor, keys at once ──leave──> what was there before

``leave`` waits for nobody: what is shown goes through a descriptor of its own that does not block, because a terminal
that nobody reads, or that was stopped by Ctrl-S, must not keep a program from ending.
"""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

# The other screen, no cursor, and no new line after the last column: a line may be as wide as the terminal. What is
# pasted is told from what is typed.
_ENTER: Final = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[2J"
_LEAVE: Final = b"\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"
_LAST_WORD_S: Final = 0.5  # for what is still to be written when it is left
_DEFAULT_SIZE: Final = (80, 24)  # of a terminal that does not know its own
_IFLAG, _LFLAG, _CC = 0, 3, 6


class Screen:
    """A full screen on the terminal ``keys`` (where it is typed) and ``shown`` (where it is seen), both descriptors."""

    def __init__(self, keys: int, shown: int) -> None:
        self._keys = keys
        self._terminal = shown
        self._before = termios.tcgetattr(keys)
        self._output = _opened_again(shown)
        self._unsent = b""
        self._next: bytes | None = None

    def __enter__(self) -> Self:
        try:
            self.enter()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()

    def enter(self) -> None:
        """Take the terminal; also after it was in somebody else's hands, or was left. Raises ``OSError`` where it is
        gone."""
        try:
            self._take_keys()
        except termios.error as error:  # which is no OSError
            raise OSError(*error.args) from error
        self._unsent, self._next = _ENTER, None
        self.flush()

    def _take_keys(self) -> None:
        changed = termios.tcgetattr(self._keys)
        changed[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
        changed[_IFLAG] &= ~(termios.IXON)  # Ctrl-S is a key that does nothing, instead of one that stops everything
        changed[_CC][termios.VMIN], changed[_CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self._keys, termios.TCSANOW, changed)

    def leave(self) -> None:
        """Give the terminal back as it was. Where it is gone, nothing is left to be done."""
        try:
            termios.tcsetattr(self._keys, termios.TCSANOW, self._before)
        except termios.error:
            pass
        self._next = None
        self._send_last(self._unsent)  # the rest of a sequence that was begun, or the terminal would wait for it
        self._send_last(_LEAVE)
        self._unsent = b""

    def close(self) -> None:
        """The same, for good."""
        try:
            self.leave()
        finally:
            os.close(self._output)

    def draw(self, lines: Sequence[str], encoding: str) -> None:
        """Show these lines, from the first one of the terminal on; later, if it still takes what was before."""
        placed = (f"\x1b[{number};1H{line}" for number, line in enumerate(lines, 1))
        self._next = "".join(placed).encode(encoding, "replace")
        self.flush()

    def clear(self) -> None:
        """Begin with an empty screen: it has another size, or something else has written on it."""
        self._unsent += b"\x1b[2J"

    @property
    def output(self) -> int:
        """The descriptor that is written to."""
        return self._output

    @property
    def wants_to_write(self) -> bool:
        """Whether ``flush`` is to be called when the terminal takes more."""
        return bool(self._unsent) or self._next is not None

    def flush(self) -> None:
        """Write what the terminal takes now. Raises ``OSError`` where it is gone."""
        while self.wants_to_write:
            if not self._unsent and self._next is not None:
                self._unsent, self._next = self._next, None
            try:
                self._unsent = self._unsent[os.write(self._output, self._unsent) :]
            except BlockingIOError:
                return

    def forget(self) -> None:
        """Drop what was typed and is not read yet."""
        try:
            termios.tcflush(self._keys, termios.TCIFLUSH)
        except termios.error:
            pass  # it is gone, and whoever reads it will be told

    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal."""
        try:
            size = os.get_terminal_size(self._terminal)
        except OSError:
            return _DEFAULT_SIZE
        return size.columns or _DEFAULT_SIZE[0], size.lines or _DEFAULT_SIZE[1]

    def _send_last(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._output, data) :]
            except BlockingIOError:
                if not select.select([], [self._output], [], _LAST_WORD_S)[1]:
                    return
            except OSError:
                return


def _opened_again(terminal: int) -> int:
    """The same terminal by a descriptor that does not block: others share this one, and are not to be affected."""
    try:
        return os.open(f"/proc/self/fd/{terminal}", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # it belongs to another user (after su), or there is no /proc
        return os.dup(terminal)
