"""One queue, one producer, one consumer, so many 200-byte messages; prints the seconds it took.

    python -m bench.ring_race {ring|faster-fifo} {one|two} MESSAGES        one process, or two

A process of its own, because it forks, and the one that runs the benchmarks has gRPC in it. Both queues have the same
room. The producer puts one message at a time; the consumer takes what there is. Bytes go through as they are:
faster-fifo is spared its pickling. A side that cannot go on gives up the rest of its time slice.
"""

from __future__ import annotations

import mmap
import os
import queue
import sys
import time
from collections.abc import Callable
from typing import Final

import faster_fifo  # type: ignore[import-not-found] # a compiled module without types

from arbd.ipc import layout
from arbd.ipc.cell import SupervisorCell, WorkerCell

MESSAGE: Final = b"m" * 200
_ROOM: Final = 1 << 20
_AT_ONCE: Final = 64  # messages taken at once at most; also how far one process gets ahead of itself

Put = Callable[[bytes], bool]
TakeMany = Callable[[], int]


def make_ring() -> tuple[Put, TakeMany]:
    """The task ring of a cell, both ends."""
    store = mmap.mmap(-1, layout.cell_bytes(_ROOM))
    words = memoryview(store).cast("Q")
    producer = SupervisorCell(store, words, _ROOM).tasks
    consumer = WorkerCell(store, words).tasks
    return producer.push, lambda: len(consumer.pop_many(_AT_ONCE))


def make_faster_fifo() -> tuple[Put, TakeMany]:
    """A faster-fifo queue, used in its fastest way."""
    fifo = faster_fifo.Queue(_ROOM, loads=bytes, dumps=lambda message: message)

    def put(message: bytes) -> bool:
        try:
            fifo.put_nowait(message)
        except queue.Full:
            return False
        return True

    def take_many() -> int:
        try:
            return len(fifo.get_many_nowait(_AT_ONCE))
        except queue.Empty:
            return 0

    return put, take_many


def produce(put: Put, count: int) -> None:
    """Put ``count`` messages, each by itself."""
    for _ in range(count):
        while not put(MESSAGE):
            os.sched_yield()


def consume(take_many: TakeMany, count: int) -> None:
    """Take ``count`` messages."""
    while count > 0:
        taken = take_many()
        count -= taken
        if not taken:
            os.sched_yield()


def in_one_process(put: Put, take_many: TakeMany, count: int) -> None:
    """Both ends by turns."""
    for _ in range(count // _AT_ONCE):
        produce(put, _AT_ONCE)
        consume(take_many, _AT_ONCE)


def in_two_processes(put: Put, take_many: TakeMany, count: int) -> None:
    """The consumer in a child; its end is the end of the race."""
    child = os.fork()
    if child == 0:
        consume(take_many, count)
        os._exit(0)
    produce(put, count)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"the consumer ended with status {status}")


def main(kind: str, processes: str, count: int) -> float:
    """Seconds for all messages."""
    put, take_many = make_ring() if kind == "ring" else make_faster_fifo()
    race = in_one_process if processes == "one" else in_two_processes
    in_one_process(put, take_many, _AT_ONCE)  # touch the memory first
    begin = time.perf_counter()
    race(put, take_many, count)
    return time.perf_counter() - begin


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
