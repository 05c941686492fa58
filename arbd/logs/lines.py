"""Lines out of a stream of bytes that somebody prints, and a bound on how many of them are shown.

Pure: time comes as an argument. Not where the lines go (``arbd.logs.streams``, ``arbd.worker.output_reader``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_LINE: Final = 16 * 1024  # bytes; what is behind them is left out, and the line says so
MOST_LINES: Final = 1_000  # of one task
MOST_BYTES: Final = 1024 * 1024
LINES_PER_S: Final = 100  # the allowance of a task that runs for long grows so fast
BYTES_PER_S: Final = 100 * 1024
# A line is held a little longer than it may be, so that a secret at its end is seen as a whole.
_HELD: Final = MAX_LINE + 4 * 1024


class Line(NamedTuple):
    """A line without its end. ``left_out``: so many bytes of it are missing behind."""

    data: bytes
    left_out: int = 0

    @property
    def text(self) -> str:
        """The line as text: what is no UTF-8 is escaped."""
        return self.data.decode("utf-8", "backslashreplace")


class LineCutter:
    """Cuts bytes, as they come, into lines, and holds the beginning of one. A carriage return does what it does on a
    terminal: what follows takes the line's place, so that a progress bar is one line."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left_out = 0

    def __bool__(self) -> bool:
        """Whether the beginning of a line is held."""
        return bool(self._held or self._left_out)

    def feed(self, data: bytes) -> list[Line]:
        """Take what was printed; the lines that end in it. Blank ones are left out."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._hold(end)
            lines += self.flush()
        self._hold(rest)
        return lines

    def flush(self) -> list[Line]:
        """The line that is held, as if it had ended, unless it is blank."""
        line = Line(bytes(self._held).rstrip(b"\r"), self._left_out)
        self._held.clear()
        self._left_out = 0
        return [line] if line.data.strip() or line.left_out else []

    def take(self) -> bytes:
        """The beginning of a line that is held; it is not held any more."""
        data = bytes(self._held)
        self._held.clear()
        self._left_out = 0
        return data

    def _hold(self, data: bytes) -> None:
        if b"\r" in data or (self._held and self._held[-1] == 13):  # a carriage return
            data = bytes(self._held) + data
            self._held.clear()
            text = data.rstrip(b"\r")
            begin = text.rfind(b"\r") + 1
            if begin:
                self._left_out = 0
            data = data[begin:]
        room = _HELD - len(self._held)
        self._held += data[:room]
        self._left_out += max(0, len(data) - room)


class Budget:
    """How much of what a task prints is shown: some at once, and then so much a second. The rest is counted."""

    def __init__(self, now: float) -> None:
        self.renew(now)

    def renew(self, now: float) -> None:
        """Begin anew, with the next task."""
        self._lines: float = MOST_LINES
        self._bytes: float = MOST_BYTES
        self._at = now
        self.dropped_lines = 0
        self.dropped_bytes = 0

    def takes(self, size: int, now: float) -> bool:
        """Whether a line of so many bytes is shown; else it is counted as dropped."""
        if self._lines < 1 or self._bytes < size:
            passed = max(0.0, now - self._at)
            self._at = now
            self._lines = min(MOST_LINES, self._lines + passed * LINES_PER_S)
            self._bytes = min(MOST_BYTES, self._bytes + passed * BYTES_PER_S)
            if self._lines < 1 or self._bytes < size:
                self.drop(1, size)
                return False
        self._lines -= 1
        self._bytes -= size
        return True

    def lines_left(self, now: float) -> int:
        """How many lines would be shown, at most."""
        return int(min(MOST_LINES, self._lines + max(0.0, now - self._at) * LINES_PER_S))

    def drop(self, lines: int, size: int) -> None:
        """Count what is not shown."""
        self.dropped_lines += lines
        self.dropped_bytes += size

    def take_dropped(self) -> tuple[int, int]:
        """How many lines and bytes were dropped and not told of yet."""
        dropped = self.dropped_lines, self.dropped_bytes
        self.dropped_lines = self.dropped_bytes = 0
        return dropped
