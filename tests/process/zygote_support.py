"""A zygote without a supervisor: the test sends its messages, and reads what comes back."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from arbd.host import channel, doorbell, memory
from arbd.ipc import author_page, frame, layout
from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.cell import SupervisorCell
from arbd.model.description import Description

RING = 64 * 1024
LOG = protocol.LogSettings("debug", "json", False)
_M = TypeVar("_M", bound=protocol.FromZygote)


class WorkerEnds:
    """What a supervisor shares with one worker."""

    def __init__(self, description: Description) -> None:
        size = layout.worker_bytes(RING, len(description.limits), len(description.actions))
        cell_fd = memory.create("arbd-cell", size)
        board_fd = memory.create("arbd-board", layout.board_bytes(1))
        self._mapping = memory.attach(cell_fd)
        self.cell = SupervisorCell(self._mapping, memory.words_of(self._mapping), RING)
        self.side, theirs = channel.pair()
        self._bells = [doorbell.create() for _ in range(4)]
        bell, results_bell, limits_bell, answers_bell = self._bells
        stacks_fd = memory.create("arbd-stacks", 1 << 16)
        metrics_fd = memory.create("arbd-metrics", author_page.page_bytes(0))
        author_page.begin(memory.words_of(memory.attach(metrics_fd)), 0)
        fds = (cell_fd, bell, board_fd, results_bell, theirs.fileno(), limits_bell, answers_bell, stacks_fd, metrics_fd)
        self.handles = fds
        self._theirs = theirs

    def push(self, record: bytes) -> None:
        """Give it a task."""
        assert self.cell.tasks.push(record)
        doorbell.ring(self._bells[0])

    def leave(self) -> None:
        """Tell it to leave."""
        self.cell.condemn(layout.LEAVE)
        doorbell.ring(self._bells[0])

    def results(self, count: int, timeout_s: float = 10.0) -> list[frame.ResultFrame]:
        """Its next records; the first of all says that it is ready."""
        found: list[frame.ResultFrame] = []
        deadline = time.monotonic() + timeout_s
        while len(found) < count:
            found += map(frame.decode_result, self.cell.results.pop_many(count - len(found)))
            assert time.monotonic() < deadline, "the worker does not answer"
            time.sleep(0.002)
        return found

    def close(self) -> None:
        """Give everything back."""
        for fd in {*self.handles, *self._bells} - {self._theirs.fileno()}:
            os.close(fd)
        self.side.close()
        self._theirs.close()


class ZygoteProcess:
    """``python -m arbd.worker.zygote`` on a module of the test's."""

    def __init__(self, directory: Path, text: str, *, open_files: int = 0) -> None:
        (directory / "target.py").write_text(text)
        self._boot = protocol.Boot(str(directory / "target.py"), [], False, LOG, open_files)
        self._log = directory / "zygote.log"
        self._workers: list[WorkerEnds] = []
        self.control, theirs = channel.pair()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "arbd.worker.zygote", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=log,
                process_group=0,
            )
        theirs.close()

    def __enter__(self) -> ZygoteProcess:
        self.send(self._boot)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for ends in self._workers:
            ends.close()

    def send(self, message: Any, fds: tuple[int, ...] = ()) -> None:
        """A message of the supervisor."""
        channel.send(self.control, protocol.encode(message), fds)

    def receive(self, kind: type[_M], timeout_s: float = 20.0) -> tuple[_M, list[int]]:
        """The next message, which must be of that kind, and its descriptors."""
        ready, _, _ = select.select([self.control], [], [], timeout_s)
        assert ready, "the zygote says nothing"
        data, fds = channel.receive(self.control)
        assert data, "the zygote has ended"
        message = protocol.decode_from_zygote(data)
        assert isinstance(message, kind), message
        return message, fds

    def configure(self, **settings: Any) -> Description:
        """Wait until it has loaded, and give it settings; what it has loaded."""
        _, [parcel] = self.receive(protocol.Described)
        self.description = msgspec.msgpack.decode(memory.read_parcel(parcel, 1 << 20), type=Description)
        self.send(protocol.Configure("p", "hub:1", "UTC", 5.0, "plain", 1 << 20, LOG, **settings))
        return self.description

    def spawn(self, worker_id: int, handles: tuple[int, ...] | None = None) -> WorkerEnds:
        """Ask for a worker."""
        ends = WorkerEnds(self.description)
        self._workers.append(ends)
        self.send(protocol.Spawn(worker_id, 0), ends.handles if handles is None else handles)
        return ends

    def spawned(self, worker_id: int) -> int:
        """Its number, as told by the next message."""
        message, [pidfd] = self.receive(protocol.Spawned)
        os.close(pidfd)
        assert message.worker_id == worker_id
        return message.pid

    def exited(self) -> protocol.Exited:
        """The end of a worker, as told by the next message."""
        return self.receive(protocol.Exited)[0]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        lines = self._log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == name]
