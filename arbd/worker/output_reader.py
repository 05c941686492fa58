"""The zygote's side of its workers' descriptors 1 and 2: reads their pipes and writes each line to the log.

    pipe ─read, a bounded piece a turn─> lines ─> bounded for each task ─> the log
      └ whose: pipes of a task's own say so; of others, the task on the name plate, if it ran before and after the read

Not the end that is written to (``arbd.worker.output``). A pipe is read until nobody has its other end any more: what a
worker leaves behind is never hit by SIGPIPE, and prints without a task, or with its own.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from arbd import logs
from arbd.host import channel, pipes
from arbd.ipc import layout
from arbd.ipc.plate import Plate, TaskTuple, decode_own_pipes, read_plate
from arbd.logs.lines import Budget, Line, LineCutter
from arbd.worker.output import OutputFds

_PIECE: Final = 64 * 1024
_HOLD_S: Final = 0.5  # for the rest of a line
_MOST_AT_END: Final = 16  # pieces of what a dead worker has left in a pipe
_NAMES: Final = ("stdout", "stderr")


class Show(NamedTuple):
    """What takes the lines of workers, and what was dropped of them: see ``arbd.logs``."""

    line: Callable[..., object] = logs.write_captured
    dropped: Callable[..., object] = logs.write_dropped


class Prepared(NamedTuple):
    """The descriptors of the output of a worker that is about to be started: its own, the reader's, and the reader's
    copy of that of its cell."""

    worker: OutputFds
    reader: OutputFds
    cell: int


class _Source:
    """Whose lines come from a pair of pipes: those of ``task``, or of what the name plate in ``cell`` says."""

    def __init__(self, worker: int, pid: int, task: TaskTuple | None, now: float, cell: int = -1) -> None:
        self.worker = worker
        self.pid = pid
        self.task = task
        self.budget = Budget(now)
        self.told_at = now
        self._cell = cell
        self.running = 0  # the task that the worker had begun last, before the last read

    def before_read(self, show: Show, now: float) -> int:
        """Look before a read; the number of the task that is certain to run."""
        if self._cell < 0:
            return 0
        plate = self._plate()
        if plate.running != self.running:
            self.running = plate.running
            self.tell_dropped(show, now)
            self.budget.renew(now)
        return plate.certain

    def after_read(self, certain: int) -> TaskTuple | None:
        """The task whose lines were read."""
        if self._cell < 0 or not certain:
            return self.task
        plate = self._plate()
        return plate.task if plate.certain == certain and self._threads() <= plate.threads else None

    def forget_plate(self) -> None:
        """Say of nothing any more whose it is."""
        if self._cell >= 0:
            os.close(self._cell)
            self._cell = -1

    def _plate(self) -> Plate:
        return read_plate(os.pread(self._cell, layout.PAGE_BYTES, 0))  # not mapped: that would be in all workers

    def _threads(self) -> int:
        """How many threads the worker has: C code may have started some in an earlier task."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/task"))
        except OSError:  # it has ended
            return 0

    def tell_dropped(self, show: Show, now: float) -> None:
        """Say how much was dropped since this was asked last."""
        lines, size = self.budget.take_dropped()
        if lines:
            self.told_at = now
            show.dropped(lines, size, self.task, self.worker)


class _Stream:
    """One pipe, and the beginning of a line from it."""

    def __init__(self, source: _Source, name: str) -> None:
        self.source = source
        self.name = name
        self.cutter = LineCutter()
        self.task: TaskTuple | None = None
        self.running = 0
        self.at = 0.0


class _PrintingWorker(NamedTuple):
    slot: int
    pid: int
    channel: socket.socket


class OutputReader:
    """The reader of all workers of one zygote. ``poll``: where its descriptors are watched."""

    def __init__(
        self, poll: select.poll, show: Show | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._poll = poll
        self._show = show or Show()
        self._clock = clock
        self._streams: dict[int, _Stream] = {}
        self._workers: dict[int, _PrintingWorker] = {}  # by channel
        self._prepared: Prepared | None = None

    def prepare(self, cell: int) -> Prepared:
        """Make the descriptors of one more worker; ``cell``: the memory of its name plate. ``add`` or ``cancel`` must
        follow. Raises ``OSError``."""
        made: list[int] = []
        try:
            made += pipes.make()
            made += pipes.make()
            ours, theirs = channel.pair()
            made += [ours.detach(), theirs.detach()]
            made.append(fcntl.fcntl(cell, fcntl.F_DUPFD_CLOEXEC, 3))
        except OSError:
            _close(made)
            raise
        out, out_end, err, err_end, ours_fd, theirs_fd, copy = made
        self._prepared = Prepared(OutputFds(out_end, err_end, theirs_fd), OutputFds(out, err, ours_fd), copy)
        return self._prepared

    def add(self, prepared: Prepared, slot: int, pid: int) -> None:
        """Read what this worker prints, which has its descriptors now."""
        self._prepared = None
        _close(prepared.worker)
        source = _Source(slot, pid, None, self._clock(), prepared.cell)
        self._watch(source, prepared.reader[:2])
        end = socket.socket(fileno=prepared.reader.channel)
        end.setblocking(False)
        self._workers[end.fileno()] = _PrintingWorker(slot, pid, end)
        self._poll.register(end, select.POLLIN)

    def cancel(self, prepared: Prepared) -> None:
        """Close the descriptors of a worker that was not started."""
        self._prepared = None
        _close((*prepared.worker, *prepared.reader, prepared.cell))

    def release(self) -> None:
        """Close what is the zygote's alone; called in a forked child."""
        for fd in self._streams:
            os.close(fd)
        for stream in self._streams.values():
            stream.source.forget_plate()
        for worker in self._workers.values():
            worker.channel.close()
        if self._prepared is not None:
            _close((*self._prepared.reader, self._prepared.cell))

    def handle(self, fd: int) -> bool:
        """Read from a descriptor that can be read, once and no more: others have their turn; whether it was one of the
        reader's."""
        if fd in self._streams:
            self._read(fd, self._streams[fd])
        elif fd in self._workers:
            self._hear(fd, self._workers[fd])
        else:
            return False
        return True

    def end(self, pid: int) -> None:
        """Read what a worker that has ended has left, and end its lines."""
        for fd, worker in list(self._workers.items()):
            if worker.pid == pid:
                while self._hear(fd, worker):
                    pass
                self._hang_up(fd)
        for fd, stream in list(self._streams.items()):
            if stream.source.pid == pid:
                for _ in range(_MOST_AT_END):
                    if not self._read(fd, stream):
                        break
                self._end_line(stream)
                stream.source.tell_dropped(self._show, self._clock())
                stream.source.forget_plate()

    def due_in_s(self) -> float | None:
        """Seconds until ``flush`` should be called; ``None``: not at all."""
        streams = self._streams.values()
        held = [stream.at for stream in streams if stream.cutter]
        held += [stream.source.told_at for stream in streams if stream.source.budget.dropped_lines]
        return max(0.0, min(held) + _HOLD_S - self._clock()) if held else None

    def flush(self) -> None:
        """End the lines that were held for long enough."""
        until = self._clock() - _HOLD_S
        for stream in self._streams.values():
            if stream.cutter and stream.at <= until:
                self._end_line(stream)
            if stream.source.told_at <= until:
                stream.source.tell_dropped(self._show, self._clock())

    def _watch(self, source: _Source, fds: tuple[int, ...]) -> None:
        for name, fd in zip(_NAMES, fds, strict=True):
            self._streams[fd] = _Stream(source, name)
            self._poll.register(fd, select.POLLIN)

    def _hear(self, fd: int, worker: _PrintingWorker) -> bool:
        """Take over the pipes that a task has made for itself; whether there may be more."""
        try:
            message, fds = channel.receive(worker.channel)
        except OSError:  # BlockingIOError: there is none; else nothing is free to take it, at this moment
            return False
        try:
            task = decode_own_pipes(message).task if message else None
        except (msgspec.MsgspecError, UnicodeError):  # of an author's, who has found the channel
            task = None
        if message and len(fds) == len(_NAMES):
            for end in fds:
                os.set_blocking(end, False)
            self._watch(_Source(worker.slot, worker.pid, task, self._clock()), tuple(fds))
            return True
        _close(fds)
        if not message:
            self._hang_up(fd)
        return bool(message)

    def _hang_up(self, fd: int) -> None:
        if fd in self._workers:
            self._poll.unregister(fd)
            self._workers.pop(fd).channel.close()

    def _read(self, fd: int, stream: _Stream) -> bool:
        """Read a piece; whether there may be more."""
        now, source = self._clock(), stream.source
        seq = source.before_read(self._show, now)
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close(fd, stream)
            return False
        task = source.after_read(seq)
        if stream.cutter and (stream.task, stream.running) != (task, source.running):
            self._end_line(stream)
        stream.task, stream.running, stream.at = task, source.running, now
        shown = source.budget.lines_left(now)
        pieces = data.split(b"\n", shown)  # a line is looked at only if it is shown
        rest = pieces.pop() if len(pieces) > shown else b""
        for line in stream.cutter.feed(data[: len(data) - len(rest)]):
            self._write(stream, line)
        self._drop(stream, rest)
        return True

    def _drop(self, stream: _Stream, data: bytes) -> None:
        """Count what is not shown, without a look at each line of it."""
        last = data.rfind(b"\n") + 1
        if last:
            stream.source.budget.drop(data.count(b"\n"), len(stream.cutter.take()) + last)
        stream.cutter.feed(data[last:])

    def _write(self, stream: _Stream, line: Line) -> None:
        source = stream.source
        if source.budget.takes(len(line.data), stream.at):
            self._show.line(stream.name, line, stream.task, None, source.worker)

    def _end_line(self, stream: _Stream) -> None:
        for line in stream.cutter.flush():
            self._write(stream, line)

    def _close(self, fd: int, stream: _Stream) -> None:
        """Nobody has the other end any more."""
        self._end_line(stream)
        stream.source.tell_dropped(self._show, self._clock())
        self._poll.unregister(fd)
        del self._streams[fd]
        os.close(fd)
        if not any(other.source is stream.source for other in self._streams.values()):
            stream.source.forget_plate()


def _close(fds: tuple[int, ...] | list[int]) -> None:
    for fd in fds:
        os.close(fd)
