"""The worker's side of descriptors 1 and 2: what C code and child processes print goes to pipes that the zygote reads.

What ``print`` and the like write does not come here (``arbd.logs.streams``). To tell the reader whose a line is::

    the worker's pipes   of the process. Looked at before sleep and after a task that took long: seen empty, and with no
                         thread or child about, the next task is put on the cell's name plate (``arbd.ipc.plate``)
    pipes of a task's    made when it starts a child, and handed to the reader with the task's name; what it leaves
    own                  behind goes on printing there, and never into what is another task's

So nothing is ever said to be of a task that is not, and a task that is short, or follows one at once, may have lines
that are only of its worker. Nothing of this costs a task anything but a look at a global.
"""

from __future__ import annotations

import _thread
import os
import socket
import threading
import time
from typing import Final, NamedTuple

from arbd import logs
from arbd.host import channel, child_counts, pipes, stdio
from arbd.interrupts import uninterruptible
from arbd.ipc.plate import OwnPipes, PlateWriter, encode
from arbd.logs import tasks

LOOK_WORTH_NS: Final = 200_000
"""A look takes 2 µs, 30 to 70 from cold caches, so it is worth it after a task of that length."""

_WAIT_S: Final = 0.005
_STEP_S: Final = 0.0001
_MOST_WAITING: Final = 32 * 1024  # in a pipe, while its reader does not read


class OutputFds(NamedTuple):
    """The descriptors of a worker's output: the ends of its pipes to write to, and of the channel to their reader."""

    out: int
    err: int
    channel: int


class WorkerOutput:
    """The output of this worker process. ``words``: its cell."""

    def __init__(self, words: memoryview, fds: OutputFds) -> None:
        self._plate = PlateWriter(words)
        self._pipes = (fds.out, fds.err)
        self._channel = socket.socket(fileno=fds.channel)
        self._channel.setblocking(False)
        self._owner: tasks.TaskTuple | None = None
        self._has_own = False
        self._is_shared = False  # a child may have the worker's pipes for ever
        self._waits_in_vain = False
        self._process = os.getpid()
        self._reaped = child_counts.reaped()
        self._lock = threading.RLock()
        self.is_clean = False
        self._put_back()

    # -- between tasks -------------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Look, between two tasks, whether all that was printed has been read; wait for that for a moment. Returns
        whether there was something to wait for."""
        if self.is_clean:
            return False
        stdio.flush()
        waited = self._has_waiting()
        if not waited:
            self._waits_in_vain = False
        elif not self._wait():
            return True
        if not self._has_own and not self._may_be_shared():
            self.is_clean = True
            tasks.at_begin(self._name_task)
        return waited

    def _name_task(self) -> None:
        self.is_clean = False
        tasks.at_begin(None)
        task = tasks.running_task()
        if task is not None:
            self._plate.write(task, 1 + _thread._count())

    def _may_be_shared(self) -> bool:
        """Whether somebody else may print, who was started earlier: a thread, or a child of which nobody has said."""
        if self._is_shared or (_thread._count() and tasks.is_any_thread_busy()):
            return True
        self._look_for_reaped()
        return self._is_shared or child_counts.has_child()

    def _look_for_reaped(self) -> None:
        """Find out whether the process has had a child, with the pipes that it has now, of which nobody has said."""
        if not self._has_own and child_counts.reaped() != self._reaped:
            self._is_shared = True

    def _has_waiting(self) -> bool:
        out, err = pipes.waiting(1), pipes.waiting(2)
        if out < 0 or err < 0:
            self._put_back()  # somebody has closed one
            out, err = map(pipes.waiting, self._pipes)
        return out > 0 or err > 0

    def _wait(self) -> bool:
        """Wait until what waits has been read; whether it has. One who was not there the last time is not waited for
        again."""
        give_up_at = time.monotonic() + (0 if self._waits_in_vain else _WAIT_S)
        while time.monotonic() < give_up_at:
            time.sleep(_STEP_S)
            if not self._has_waiting():
                return True
        self._waits_in_vain = True
        for name, fd in zip(("stdout", "stderr"), self._pipes, strict=True):
            if pipes.waiting(fd) > _MOST_WAITING:
                _drop(name, fd)
        return False

    # -- children ------------------------------------------------------------------------------------------------------

    @uninterruptible
    def before_child(self) -> None:
        """Give the task that is about to start a child pipes of its own, unless it has them. To be told by
        ``arbd.worker.child_starts``."""
        if os.getpid() != self._process:
            return  # a child that starts a child
        with self._lock:
            task = tasks.current_task()
            if self._has_own and task is self._owner:
                return
            self._make_own(task if task is not None and not tasks.is_any_thread_busy(but_of=task) else None)
            tasks.at_end(self._end_own)

    def _make_own(self, task: tasks.TaskTuple | None) -> None:
        made: list[int] = []
        try:
            stdio.flush()
            self._look_for_reaped()
            made += pipes.make()
            made += pipes.make()
            channel.send(self._channel, encode(OwnPipes(task)), (made[0], made[2]))
            os.dup2(made[1], 1)
            os.dup2(made[3], 2)
            self._has_own, self._owner = True, task
        except OSError:  # no descriptor is left, or the reader does not read
            self._is_shared = True
        finally:
            for fd in made:
                os.close(fd)

    def _end_own(self) -> None:
        if os.getpid() == self._process and self._has_own:
            stdio.flush()
            self._has_own, self._owner = False, None
            self._put_back()
        self._reaped = child_counts.reaped()

    def _put_back(self) -> None:
        for fd, pipe in enumerate(self._pipes, start=1):
            try:
                os.dup2(pipe, fd)
            except OSError:
                pass  # an author has closed that one, too: what is printed there is lost


def _drop(name: str, fd: int) -> None:
    """Throw away what waits in a pipe that nobody reads: who prints there would wait."""
    lines = size = 0
    try:
        reading = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while data := os.read(reading, 1 << 16):
                lines += data.count(b"\n")
                size += len(data)
        finally:
            os.close(reading)
    except OSError:  # BlockingIOError: it is empty
        pass
    logs.write_dropped(lines, size, None)
