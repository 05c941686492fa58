"""The reader of what workers print, over real pipes that the test writes to: whose each line is, that no worker starves
another, and that descriptors are closed and nothing is lost when one ends."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.host import channel, memory, pipes
from arbd.ipc import layout
from arbd.ipc.plate import OwnPipes, PlateWriter, encode
from arbd.logs.lines import MOST_LINES
from arbd.worker.output_reader import OutputReader, Prepared, Show

TASK, OTHER = ("1", "a", "", 1), ("2", "b", "", 1)


class Printing:
    """A worker, as far as the reader can see."""

    def __init__(self, reader: OutputReader, slot: int) -> None:
        cell = memory.create("cell", layout.cell_bytes(layout.MIN_RING_BYTES))
        self.words = memory.words_of(memory.attach(cell))
        self.plate = PlateWriter(self.words)
        prepared = reader.prepare(cell)
        self.out, self.err, end = map(os.dup, prepared.worker)
        self.pid = os.getpid()
        reader.add(prepared, slot, self.pid)
        os.close(cell)
        import socket

        self.channel = socket.socket(fileno=end)

    def run(self, seq: int, task: tuple[str, str, str, int] | None = None) -> None:
        self.words[layout.RUNNING_SEQ] = seq
        if task is not None:
            self.plate.write(task, threads=1)

    def say(self, text: str) -> None:
        os.write(self.out, text.encode())

    def own_pipes(self, task: tuple[str, str, str, int] | None) -> int:
        """Pipes of a task's own; the end of the first to write to."""
        (out, out_end), (err, err_end) = pipes.make(), pipes.make()
        channel.send(self.channel, encode(OwnPipes(task)), (out, err))
        for fd in (out, err, err_end):
            os.close(fd)
        return out_end

    def close(self) -> None:
        for fd in (self.out, self.err):
            os.close(fd)
        self.channel.close()


class Desk:
    """A reader, its clock, and what it has shown."""

    def __init__(self) -> None:
        self.now = 100.0
        self.poll = select.poll()
        self.lines: list[tuple[str, str | None, str, int]] = []
        self.dropped: list[tuple[int, str | None, int]] = []
        self.reader = OutputReader(self.poll, Show(self._line, self._dropped), clock=lambda: self.now)

    def _line(self, name: str, line: Any, task: Any, record: None, worker: int) -> None:
        self.lines.append((line.text, task and task[0], name, worker))

    def _dropped(self, lines: int, size: int, task: Any, worker: int) -> None:
        self.dropped.append((lines, task and task[0], worker))

    def turn(self) -> None:
        """What the zygote does in one turn."""
        self.reader.flush()
        for fd, _ in self.poll.poll(0):
            assert self.reader.handle(fd)

    @property
    def told(self) -> list[tuple[str, str | None]]:
        return [(text, task) for text, task, _, _ in self.lines]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(os, "listdir", lambda path: ["1"])  # the threads of this process are not the worker's
    return Desk()


@pytest.fixture
def worker(desk: Desk) -> Iterator[Printing]:
    worker = Printing(desk.reader, 3)
    yield worker
    worker.close()
    while desk.reader._streams or desk.reader._workers:
        desk.turn()


def test_a_line_is_of_the_task_on_the_plate(desk: Desk, worker: Printing) -> None:
    worker.run(1, TASK)
    worker.say("one\n")
    os.write(worker.err, b"two\n")
    desk.turn()
    assert desk.lines == [("one", "1", "stdout", 3), ("two", "1", "stderr", 3)]


def test_without_a_plate_of_the_task_that_runs_it_is_of_nobody(desk: Desk, worker: Printing) -> None:
    worker.run(1)
    worker.say("one\n")
    desk.turn()
    worker.run(2, TASK)
    worker.run(3)
    worker.say("two\n")
    desk.turn()
    assert desk.told == [("one", None), ("two", None)]


@pytest.mark.parametrize("before_read", [True, False])
def test_a_task_that_begins_while_the_pipe_is_read(
    before_read: bool, desk: Desk, worker: Printing, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.run(1, TASK)
    worker.say("one\n")
    read = os.read

    def read_slowly(fd: int, size: int) -> bytes:
        if before_read:
            worker.run(2, OTHER)
        data = read(fd, size)
        worker.run(2, OTHER)
        return data

    monkeypatch.setattr(os, "read", read_slowly)
    desk.turn()
    assert desk.told == [("one", None)]


def test_threads_that_c_code_has_started(desk: Desk, worker: Printing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda path: ["1", "2"])
    worker.run(1, TASK)
    worker.say("one\n")
    desk.turn()
    assert desk.told == [("one", None)]


def test_the_rest_of_a_line_of_another_task_is_not_its_end(desk: Desk, worker: Printing) -> None:
    for seq, task in ((1, TASK), (2, OTHER), (3, None), (4, None)):
        worker.run(seq, task)
        worker.say(f"no end {seq}")
        desk.turn()
    worker.say(" but here\n")
    desk.turn()
    assert desk.told == [("no end 1", "1"), ("no end 2", "2"), ("no end 3", None), ("no end 4 but here", None)]


def test_a_line_without_an_end_is_shown_after_a_while(desk: Desk, worker: Printing) -> None:
    assert desk.reader.due_in_s() is None
    worker.run(1, TASK)
    worker.say("no end")
    desk.turn()
    assert desk.reader.due_in_s() == 0.5
    desk.now += 0.6
    assert desk.reader.due_in_s() == 0
    worker.run(2, OTHER)
    desk.turn()
    assert desk.told == [("no end", "1")]
    assert desk.reader.due_in_s() is None


def test_pipes_of_a_tasks_own_are_its_for_ever(desk: Desk, worker: Printing) -> None:
    worker.run(1, TASK)
    own, nobodys = worker.own_pipes(TASK), worker.own_pipes(None)
    desk.turn()
    desk.turn()
    worker.run(2, OTHER)
    os.write(own, b"late\n")
    os.write(nobodys, b"whose?\n")
    worker.say("of the other\n")
    desk.turn()
    assert sorted(desk.told, key=str) == [("late", "1"), ("of the other", "2"), ("whose?", None)]
    os.write(own, b"at the end")
    os.close(own)
    os.close(nobodys)
    desk.turn()
    desk.turn()
    assert desk.told[-1] == ("at the end", "1")
    assert len(desk.reader._streams) == 2


def test_a_flood_takes_one_piece_of_each_turn_and_is_counted(desk: Desk, worker: Printing) -> None:
    quiet = Printing(desk.reader, 4)
    worker.run(1, TASK)
    total = 0
    for _ in range(4):
        total += os.write(worker.out, b"y\n" * 20_000) // 2
        quiet.say("quiet\n")
        desk.turn()
    assert [text for text, *_ in desk.lines].count("quiet") == 4
    assert [text for text, *_ in desk.lines].count("y") == MOST_LINES
    worker.run(2, OTHER)
    worker.say("next\n")
    desk.turn()
    assert ("next", None) in desk.told or ("next", "2") in desk.told
    assert sum(lines for lines, _, _ in desk.dropped) == total - MOST_LINES
    quiet.close()


def test_what_was_dropped_is_told_once_in_a_while(desk: Desk, worker: Printing) -> None:
    worker.run(1, TASK)
    for _ in range(5):
        os.write(worker.out, b"y\n" * 20_000)
        desk.turn()
        desk.now += 0.2
    assert 1 <= len(desk.dropped) <= 2


@pytest.mark.parametrize("message", [b"no message", b"\xc1", encode(OwnPipes(TASK))])
def test_whatever_comes_over_the_channel(message: bytes, desk: Desk, worker: Printing) -> None:
    channel.send(worker.channel, message)  # and no pipe with it
    desk.turn()
    worker.run(1, TASK)
    worker.say("and on\n")
    desk.turn()
    assert desk.told == [("and on", "1")]
    assert len(desk.reader._streams) == 2


def test_what_a_worker_leaves_is_read_when_it_has_ended(desk: Desk, worker: Printing) -> None:
    worker.run(1, TASK)
    own = worker.own_pipes(TASK)
    os.write(own, b"x" * 1_000 + b"\n")
    worker.say("last words")
    desk.reader.end(worker.pid)
    assert sorted(text[:10] for text, _ in desk.told) == ["last words", "x" * 10]
    assert desk.reader._workers == {}
    os.write(own, b"and later\n")  # a child of it lives on
    os.close(own)
    desk.turn()
    assert ("and later", "1") in desk.told
    worker.say("nobody's\n")
    desk.turn()
    assert ("nobody's", None) in desk.told


def test_every_descriptor_is_closed(desk: Desk) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    cell = memory.create("cell", layout.PAGE_BYTES)
    desk.reader.cancel(desk.reader.prepare(cell))
    os.close(cell)
    worker = Printing(desk.reader, 1)
    worker.close()
    del worker
    while desk.reader._streams or desk.reader._workers:
        desk.turn()
    assert count() == before


def test_a_worker_for_which_there_is_no_descriptor(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> Any:
        raise OSError(24, "too many open files")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(channel, "pair", no)
    with pytest.raises(OSError, match="too many open files"):
        desk.reader.prepare(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_forked_child_keeps_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Printing(desk.reader, 1)
    cell = memory.create("cell", layout.PAGE_BYTES)
    prepared: Prepared = desk.reader.prepare(cell)
    desk.reader.release()
    for fd in (*prepared.reader, prepared.cell, *desk.reader._streams):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    for fd in (*prepared.worker, cell):
        os.close(fd)
    worker.close()
