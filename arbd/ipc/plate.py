"""The name plate of a worker's cell: which task it runs, by id, for whoever reads what it prints.

It is written for some tasks only, before they begin, when the worker has seen that nothing printed before waits to be
read any more. So what is read while ``RUNNING_SEQ`` is the number on the plate, before and after, is that task's.

The same values travel with a pipe of a task's own, as a message.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from arbd.ipc import layout

TaskTuple = tuple[str, str, str, int]
"""A task's id, its action, its trace context and its attempt."""


class OwnPipes(msgspec.Struct, frozen=True):
    """Tells the reader of new pipes, for standard output and standard error, whose ends come with this message.
    ``task``: the one that they are of; ``None``: nobody knows."""

    task: TaskTuple | None


encode = msgspec.msgpack.Encoder().encode
decode_own_pipes = msgspec.msgpack.Decoder(OwnPipes).decode
_decode_task = msgspec.msgpack.Decoder(TaskTuple).decode


class PlateWriter:
    """The worker's side."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._text = _text_of(words)

    def write(self, task: TaskTuple, threads: int) -> bool:
        """Put the task that runs on the plate, and how many threads of Python the process has; ``False`` if its names
        are too long for it."""
        text = encode(task)
        words = self._words
        words[layout.PLATE_SEQ] = 0
        if len(text) > len(self._text):
            return False
        self._text[: len(text)] = text
        words[layout.PLATE_LENGTH] = len(text)
        words[layout.PLATE_THREADS] = threads
        words[layout.PLATE_SEQ] = words[layout.RUNNING_SEQ]
        return True


class Plate(NamedTuple):
    """What the reader sees. ``running``: the task that the worker began last; ``certain``: the same if that is the one
    on the plate, else 0. What is read between two looks that find the same certain task was printed by that task."""

    running: int
    certain: int
    threads: int
    text: bytes

    @property
    def task(self) -> TaskTuple | None:
        """The task on the plate; ``None`` if it cannot be read: the memory is within an author's reach."""
        try:
            return _decode_task(self.text)
        except (msgspec.MsgspecError, UnicodeError):
            return None


def read_plate(page: bytes) -> Plate:
    """The plate in a copy of a cell's control page, made from its beginning to its end."""
    words = memoryview(page).cast("Q")
    running, seq, length = words[layout.RUNNING_SEQ], words[layout.PLATE_SEQ], words[layout.PLATE_LENGTH]
    begin = layout.PLATE_TEXT * 8
    return Plate(running, running if seq == running else 0, words[layout.PLATE_THREADS], page[begin : begin + length])


def _text_of(words: memoryview) -> memoryview:
    return words[layout.PLATE_TEXT : layout.PAGE_WORDS].cast("B")
