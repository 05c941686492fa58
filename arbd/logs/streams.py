"""Standard output and standard error as log lines: text streams in the place of ``sys.stdout`` and ``sys.stderr`` where
an author's code runs.

    print, traceback, a StreamHandler ─> text ─> bytes ─> lines ─> bounded ─> sink: one log line each

Not the descriptors 1 and 2, which C code and child processes write to: that is ``arbd.worker.output``. Invariants:

* writing never fails and never waits: there is nothing to close, and a closed stream takes what it is given;
* the beginning of a line is held for each thread apart, with the task it belongs to; the end of a task ends its lines;
* what a logging handler writes for one record is one line, however many newlines it has;
* their encoding is theirs, and an attribute that a task sets on one, such as another ``write``, goes with the task.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
import time
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any, Final, Protocol

from arbd.logs import tasks
from arbd.logs.lines import MAX_LINE, Budget, Line, LineCutter
from arbd.logs.tasks import TaskTuple

ACTION_LOGGER: Final = "arbd.action"
"""The logger of what an action raised: its records become arbd's own lines, so handlers do not show them again."""

_HANDLE: Final = logging.Handler.handle.__code__
_NEWLINES: Final = (None, "", "\n", "\r", "\r\n")
_MOST_FRAMES: Final = 24  # between a handler and the stream it writes to: rich has ten


class Sink(Protocol):
    """What takes the lines of captured streams."""

    def show(self, name: str, line: Line, task: TaskTuple | None, record: logging.LogRecord | None) -> None:
        """Write a line that stream ``name`` was given; ``record``: what a logging handler wrote it for."""

    def tell_dropped(self, lines: int, size: int, task: TaskTuple | None) -> None:
        """Say how much of a task's output is not shown."""


class _AttributesOfTasks:
    """A stream whose attributes are put back at the end of the task that sets or deletes one."""

    _kept: dict[str, Any] | None = None  # from the first change in a task until its end

    def __setattr__(self, name: str, value: Any) -> None:
        self._changes()
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._changes()
        super().__delattr__(name)

    def _changes(self) -> None:
        attributes = vars(self)
        if tasks.running_task() is not None and self._kept is None:
            attributes["_kept"] = dict(attributes)
            tasks.at_end(self._put_back)

    def _put_back(self) -> None:
        attributes, kept = vars(self), self._kept
        if kept is not None:
            attributes.clear()
            attributes.update(kept)


class CapturedStream(_AttributesOfTasks, io.TextIOWrapper):
    """The stream ``name`` of descriptor ``fd``. It cannot be closed, detached or reconfigured; all leave it as it
    is."""

    def __init__(self, capture: Capture, name: str, fd: int) -> None:
        self._bytes = CapturedBytes(capture, name, fd)
        super().__init__(
            self._bytes,
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            write_through=True,
        )

    def close(self) -> None:
        """Do nothing: the next task prints, too."""

    def detach(self) -> Any:
        """The binary stream; this one goes on working."""
        return self._bytes

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Do nothing, but for raising what another stream would: one that takes less than UTF-8 would fail the next
        task's ``print``, and lines are lines of the log whatever ends them."""
        if encoding is not None and encoding != "locale":
            codecs.lookup(encoding)
        if errors is not None:
            codecs.lookup_error(errors)
        if newline not in _NEWLINES:
            raise ValueError(f"illegal newline value: {newline!r}")


class CapturedBytes(_AttributesOfTasks, io.BufferedIOBase):
    """The binary stream below a captured one."""

    def __init__(self, capture: Capture, name: str, fd: int) -> None:
        self._capture = capture
        self._fd = fd
        self.name = f"<{name}>"
        self.mode = "wb"
        self._stream = name

    @property
    def raw(self) -> Any:
        """As other binary streams have it."""
        return self

    def write(self, data: Any) -> int:
        """Take bytes, all of them."""
        with memoryview(data) as view:
            text = view.tobytes()
        self._capture.write(self._stream, text)
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor that child processes are given for it."""
        return self._fd

    def isatty(self) -> bool:
        """It is not, whatever the log goes to."""
        return False

    def close(self) -> None:
        """Do nothing."""


class _HeldText:
    __slots__ = ("cutter", "task")

    def __init__(self, task: TaskTuple | None) -> None:
        self.cutter = LineCutter()
        self.task = task


class Capture:
    """What the captured streams of a process have in common: the lines held, and the bound of the task that runs."""

    def __init__(self, sink: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock
        self.start_anew()

    def start_anew(self) -> None:
        """Forget what is held: in a forked child it is the parent's."""
        self._held: dict[tuple[str, int], _HeldText] = {}  # by stream and thread: no two threads touch the same
        self._budget = Budget(self._clock())

    def write(self, stream: str, data: bytes) -> None:
        """Take what was written to a stream."""
        if not data:
            return
        tasks.at_end(self.end_task)
        task = tasks.current_task()
        record = record_being_written(sys._getframe(1))
        if record is not None:
            if record.name != ACTION_LOGGER and data.strip():
                self._show(stream, _whole(data), task, record)
            return
        key = stream, get_ident()
        held = self._held.pop(key, None)
        if held is None or held.task is not task:
            if held is not None:
                self._end(stream, held)
            held = _HeldText(task)
        for line in held.cutter.feed(data):
            self._show(stream, line, task)
        if held.cutter:
            self._held[key] = held

    def end_task(self) -> None:
        """End the lines that are held, tell what was dropped, and begin anew."""
        for key in list(self._held):
            held = self._held.pop(key, None)  # its thread may have ended it meanwhile
            if held is not None:
                self._end(key[0], held)
        self._tell_dropped(tasks.running_task())
        self._budget.renew(self._clock())

    def _end(self, stream: str, held: _HeldText) -> None:
        for line in held.cutter.flush():
            self._show(stream, line, held.task)

    def _show(self, stream: str, line: Line, task: TaskTuple | None, record: logging.LogRecord | None = None) -> None:
        if self._budget.takes(len(line.data), self._clock()):
            self._tell_dropped(task)  # the allowance of a task that runs for long has grown again
            self._sink.show(stream, line, task, record)

    def _tell_dropped(self, task: TaskTuple | None) -> None:
        lines, size = self._budget.take_dropped()
        if lines:
            self._sink.tell_dropped(lines, size, task)


def record_being_written(frame: FrameType | None) -> logging.LogRecord | None:
    """The record that a logging handler is writing in one of these frames."""
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        if frame.f_code is _HANDLE:
            record = frame.f_locals.get("record")
            return record if isinstance(record, logging.LogRecord) else None
        frame = frame.f_back
    return None


def _whole(data: bytes) -> Line:
    """What was written for one record, as one line."""
    text = data.rstrip(b"\n")
    return Line(text[: 2 * MAX_LINE], max(0, len(text) - 2 * MAX_LINE))
