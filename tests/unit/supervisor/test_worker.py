"""A task is in a worker's ring whole, or not at all: small ones inside, large ones by reference; and a worker gives
back every descriptor it had. Real memory and sockets, no process."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flow_support import HandLoop
from pool_support import FakeZygote

from arbd.core.dispatch import Assignment
from arbd.core.lifecycle import State, WorkerEvent
from arbd.errors import InvariantError
from arbd.host import channel, doorbell, memory, parcels, procs
from arbd.ipc import frame, layout
from arbd.ipc.cell import WorkerCell
from arbd.ipc.ring import Producer, RingCorruptError
from arbd.model.task import Task
from arbd.supervisor.worker import Worker

RING_BYTES = 1 << 14
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LARGE = b"x" * (layout.largest_record(RING_BYTES) + 1)


class Boom(Exception):
    """Something nobody expects."""


def raises(*_: Any, **__: Any) -> Any:
    raise Boom


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def loop() -> HandLoop:
    return HandLoop()


@pytest.fixture
def make() -> Iterator[Callable[[], Worker]]:
    """Makes workers, which are closed at the end."""
    made: list[Worker] = []

    def worker() -> Worker:
        zygote: Any = FakeZygote()
        made.append(Worker(7, 1, zygote, RING_BYTES))
        return made[-1]

    yield worker
    for each in made:
        each.close()
        vars(each).clear()  # its mapping has a descriptor, and the last test has the worker until after the last look


class Theirs:
    """The worker's side of what is shared."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.side = worker._side_theirs
        self.words = memory.words_of(worker._mapping)
        self.cell = WorkerCell(worker._mapping, self.words)

    def tasks(self) -> list[frame.TaskFrame]:
        return [frame.decode_task(record) for record in self.cell.tasks.pop_many(64)]


@pytest.fixture
def worker(make: Callable[[], Worker]) -> Worker:
    return make()


@pytest.fixture
def theirs(worker: Worker) -> Theirs:
    return Theirs(worker)


def assignment(**words: Any) -> Assignment:
    return Assignment(3, Task(**{"id": "t-1", "action": "act", **words}), 1.5)


# -- push ------------------------------------------------------------------------------------------------------------


def test_a_small_task_is_in_the_ring_with_all_it_has(worker: Worker, theirs: Theirs) -> None:
    assert worker.push(assignment(payload=b'{"n":1}', account=b'{"user":"u"}', traceparent=TRACE))
    [task] = theirs.tasks()
    assert (task.seq, task.timeout, task.action, task.id) == (3, 1.5, 0, "t-1")
    assert (task.body, task.payload_length, task.trace) == (b'{"n":1}{"user":"u"}', 7, TRACE)
    assert not task.by_reference


def test_a_trace_context_that_is_none_is_left_out(worker: Worker, theirs: Theirs) -> None:
    assert worker.push(assignment(traceparent="garbage"))
    [task] = theirs.tasks()
    assert task.trace == ""


def test_an_id_that_is_no_unicode_arrives_all_the_same(worker: Worker, theirs: Theirs) -> None:
    assert worker.push(assignment(id="t-\udc80"))
    [task] = theirs.tasks()
    assert task.id == "t-\udc80"


def test_a_large_one_goes_by_reference_and_its_body_before_it(worker: Worker, theirs: Theirs) -> None:
    assert worker.push(assignment(payload=LARGE, account=b"account"))
    [task] = theirs.tasks()
    assert task.by_reference
    assert parcels.take(theirs.side, 1 << 20) == LARGE + b"account"


@pytest.mark.parametrize("payload", [b"x" * 200, LARGE])
def test_without_room_nothing_is_sent(worker: Worker, theirs: Theirs, payload: bytes) -> None:
    while worker.push(assignment(payload=b"x" * 200)):
        pass
    while worker.push(assignment()):
        pass
    assert not worker.push(assignment(payload=payload))
    theirs.side.setblocking(False)
    with pytest.raises(BlockingIOError):
        parcels.take(theirs.side, 1 << 20)


def test_without_a_descriptor_for_its_body_it_is_not_sent_either(
    worker: Worker, theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(memory, "create_parcel", full)
    assert not worker.push(assignment(payload=LARGE))
    assert theirs.tasks() == []


def test_what_the_machine_will_never_take_is_raised(
    worker: Worker, theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(memory, "create_parcel", never)
    with pytest.raises(OSError, match="File too large"):
        worker.push(assignment(payload=LARGE))
    assert theirs.tasks() == []


def test_a_socket_that_holds_no_more_bodies_is_a_ring_without_room(worker: Worker, theirs: Theirs) -> None:
    sent = 0
    while worker.push(assignment(payload=LARGE)):
        sent += 1
        theirs.tasks()
        assert sent < 10_000
    assert sent > 0
    assert parcels.take(theirs.side, 1 << 20) == LARGE
    assert worker.push(assignment(payload=LARGE))


def test_a_worker_that_has_ended_takes_what_its_end_will_settle(worker: Worker) -> None:
    worker.handed_over()  # nobody else has the other end here
    assert worker.push(assignment(payload=LARGE))


@pytest.mark.parametrize("size", [200, len(LARGE)])
def test_a_ring_with_indices_that_cannot_be_is_told(worker: Worker, theirs: Theirs, size: int) -> None:
    while worker.push(assignment(payload=b"x" * 200)):
        pass
    theirs.words[layout.TASK_HEAD] = 1 << 60
    with pytest.raises(RingCorruptError):
        worker.push(assignment(payload=b"x" * size))


@pytest.mark.parametrize("error", [RingCorruptError, Boom])
def test_a_body_without_its_record_makes_the_ring_unusable(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """It would be taken for the body of the next."""

    def damaged(*_: Any) -> bool:
        raise error()

    monkeypatch.setattr(Producer, "push", damaged)
    with pytest.raises(RingCorruptError, match="did not follow"):
        worker.push(assignment(payload=LARGE))


# -- results by reference --------------------------------------------------------------------------------------------


def test_a_body_that_came_is_taken_and_one_that_is_too_long_is_not(worker: Worker, theirs: Theirs) -> None:
    for body in (b"first", b"much too long", b"third"):
        assert parcels.send(theirs.side, (body,))
    assert worker.take_parcel(10) == b"first"
    with pytest.raises(ValueError, match=r"\d"):
        worker.take_parcel(10)
    assert worker.take_parcel(10) == b"third"


def test_one_that_did_not_come_is_told_at_once(worker: Worker) -> None:
    with pytest.raises(BlockingIOError):
        worker.take_parcel(10)


# -- its life --------------------------------------------------------------------------------------------------------


def test_its_handles_are_in_the_order_of_the_protocol(worker: Worker) -> None:
    handles = worker.handles(101, 102, 103, 104)
    cell, bell, board, results_bell, side, limits_bell, answers_bell, stacks, metrics = handles
    assert (board, results_bell, limits_bell, metrics) == (101, 102, 103, 104)
    assert (bell, answers_bell, stacks) == (worker.bell, worker.answers_bell, worker.stacks.fd)
    assert os.fstat(cell).st_size >= layout.cell_bytes(RING_BYTES)
    assert side == worker._side_theirs.fileno()


def test_it_moves_on_by_the_table(worker: Worker) -> None:
    worker.step(WorkerEvent.READY)
    assert worker.state is State.SERVING
    worker.step(WorkerEvent.KILL)
    worker.step(WorkerEvent.EXITED)
    with pytest.raises(InvariantError):
        worker.step(WorkerEvent.READY)


@pytest.mark.parametrize("is_handed_over", [False, True])
@pytest.mark.parametrize("has_process", [False, True])
def test_closing_gives_back_every_descriptor(loop: HandLoop, is_handed_over: bool, has_process: bool) -> None:
    before = open_descriptors()
    zygote: Any = FakeZygote()
    worker = Worker(7, 1, zygote, RING_BYTES)
    if is_handed_over:
        worker.handed_over()
    if has_process:
        worker.attach_process(1, os.eventfd(0))
    timer: Any = loop.call_later
    worker.boot_timer, worker.end_timer = timer(1.0, raises), timer(1.0, raises)
    worker.close()
    assert loop.later == []
    del worker
    gc.collect()  # the mapping, which has a descriptor of its own, can be read until nobody has it any more
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (memory, "create", 0),
        (memory, "attach", 0),
        (doorbell, "create", 0),
        (doorbell, "create", 1),
        (channel, "pair", 0),
    ],
)
def test_one_for_which_something_cannot_be_had_leaves_nothing_behind(
    make: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: int
) -> None:
    real, calls = getattr(owner, name), []

    def fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) > after:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*args, **kwargs)

    before = open_descriptors()
    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(OSError, match="Too many open files"):
        make()
    assert open_descriptors() == before


def test_before_it_has_a_process_nobody_is_killed_signalled_or_waited_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kill", "signal_cancel", "wait_gone", "kill_group"):
        monkeypatch.setattr(procs, name, raises)
    worker.kill()
    worker.signal_cancel()
    worker.wait_gone()
    worker.kill_for_the_zygote()


def test_for_its_zygote_it_is_killed_waited_for_and_then_what_it_started(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[Any, ...]] = []
    for name in ("kill", "wait_gone", "kill_group"):
        monkeypatch.setattr(procs, name, lambda *args, name=name: done.append((name, args[0])))
    worker.attach_process(4711, pidfd := os.eventfd(0))
    worker.kill_for_the_zygote()
    assert done == [("kill", pidfd), ("wait_gone", pidfd), ("kill_group", 4711)]


def test_its_side_socket_never_blocks_the_supervisor(worker: Worker) -> None:
    ours: socket.socket = worker._side
    assert not ours.getblocking()
    assert select.select([ours], [], [], 0)[0] == []
