"""From the result rings into the outbox, and what a worker's end means for its tasks.

    doorbell ─> collect the rings with news ─> dispatcher.finish ─> verdicts ─> outbox ─> link
                                                   └─ None: this task has its verdict already; the late answer goes

The supervisor says on the board that it sleeps, and looks once more, before it goes back to its event loop; a worker
rings only then. While it collects, publishing a result costs a worker no system call. Between two looks the loop has a
turn, in which what the results have started goes out: a call to the hub, a frame.

While results pile up before the hub, or workers have enough in their rings, it does not say that it sleeps, but
*dozes*: it looks again after a millisecond or more. Measured on two cores: unary tasks/s 0.92 of the bare loop instead
of 0.84; over the stream, with tasks of 0.3 ms, 23 % more, and 87 µs of CPU per task in supervisor and hub instead of
147.

    asleep ──bell──> look ──results──> (a turn of the loop) ──> look again ──nothing──> doze, or back to sleep
                                              └──results──┘         └── after the doze ──┘
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterable
from typing import Final

from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.host import doorbell, parcels
from arbd.host.fence import make_fence
from arbd.ipc import frame, layout
from arbd.ipc.ring import RingCorruptError
from arbd.links.base import HubLink
from arbd.logs import get_logger
from arbd.supervisor.pool import Pool
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.worker import Worker

_BATCH: Final = 64  # results of one worker before the next one's turn
_BUSY_RESULTS: Final = 8  # one at a time there is one, 5 ms tasks have two
_DOZE_NS: Final = 1_000_000  # the shortest uvloop can measure
_DOZE_S: Final = _DOZE_NS / 1e9
_MOST_EMPTY_LOOKS: Final = 3  # so many find nothing, one after the other: there is no load any more

_UNREADABLE: Final = (RingCorruptError, struct.error, IndexError, ValueError, OSError)
_RETRY_S: Final = 0.05  # after something unexpected the daemon ends, and looks on until then
_TRIES_FOR_A_JUDGE: Final = 20
_TRY_PAUSE_S: Final = 0.001


class Results:
    """Collects what workers answer. ``pump`` is called once rings may have room again."""

    def __init__(
        self,
        pool: Pool,
        dispatcher: Dispatcher,
        verdicts: Verdicts,
        link: HubLink,
        *,
        bell: int,
        pump: Callable[[], None],
        max_result: int,
    ) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        self._verdicts = verdicts
        self._link = link
        self._bell = bell
        self._pump = pump
        self._max_result = max_result
        self._fence = make_fence()
        self._log = get_logger("arbd.results")
        self._loop = asyncio.get_running_loop()
        self._on_settled: Callable[[], None]
        self._on_awake: Callable[[], None]
        self._next_look: asyncio.Handle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._empty_looks = 0
        self._unfinished: list[Worker] = []  # those with more in their rings than one turn takes

    def start(self, on_settled: Callable[[], None], on_awake: Callable[[], None]) -> None:
        """Listen to the doorbell. ``on_settled`` is called a turn of the loop after tasks have ended, ``on_awake``
        after each doze."""
        self._on_settled = on_settled
        self._on_awake = on_awake
        self._loop.add_reader(self._bell, self._on_bell)
        self._pool.board[layout.SUPERVISOR_SLEEPING] = 1

    def stop(self) -> None:
        """Stop listening."""
        for timer in (self._next_look, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._bell)

    def _on_bell(self) -> None:
        doorbell.wait(self._bell)
        if self._next_look is None:  # else it was rung before, for what has been seen, or will be soon enough
            try:
                self._look()
            except BaseException:
                self._look_on()
                raise

    def _look_on(self) -> None:
        """Something unexpected was raised in a look, and goes to who handles that: results come in all the same."""
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self._loop.call_later(_RETRY_S, self._look_again)

    def _look(self) -> None:
        """Collect what there is, and look again after a turn of the loop; sleep if there is nothing."""
        self._pool.board[layout.SUPERVISOR_SLEEPING] = 0
        if self._collect_round():
            self._next_look = self._loop.call_soon(self._look_again)
        else:
            self._sleep()

    def _look_again(self) -> None:
        """The same, after results were taken or a doze."""
        self._next_look = None
        try:
            self._tell_of_room()
            if self._collect_round():
                self._next_look = self._loop.call_soon(self._look_again)
                return
            self._empty_looks += 1
            doze_s = self._doze_s() if self._empty_looks <= _MOST_EMPTY_LOOKS else 0.0
            if doze_s:
                self._next_look = self._loop.call_later(doze_s, self._end_doze)
            else:
                self._sleep()
        except BaseException:
            self._look_on()
            raise

    def _end_doze(self) -> None:
        try:
            self._collect_round()
            self._on_awake()
        except BaseException:
            self._look_on()
            raise
        self._look_again()

    def _sleep(self) -> None:
        """Say so, and look once more: who published before that did not ring."""
        board = self._pool.board
        board[layout.SUPERVISOR_SLEEPING] = 1
        self._fence()
        if self._collect_round():
            board[layout.SUPERVISOR_SLEEPING] = 0
            self._next_look = self._loop.call_soon(self._look_again)

    def _doze_s(self) -> float:
        """When to look again, with nobody ringing until then, because nothing would come of it sooner: either the hub
        is busy with earlier results, or the workers have enough to do. 0: only when rung.
        """
        if self._verdicts.unsettled >= _BUSY_RESULTS and self._dispatcher.has_short_tasks and self._link.patience_s:
            return self._link.patience_s
        return _DOZE_S if self._dispatcher.have_work_for(_DOZE_NS) else 0.0

    def _collect_round(self) -> int:
        """One turn of every worker that has something; how many records."""
        workers: Iterable[Worker] = self._pool.with_news()
        if self._unfinished:
            workers = dict.fromkeys([*self._unfinished, *workers])
            self._unfinished = []
        collected = 0
        left = iter(workers)
        try:
            for worker in left:
                taken = self._take(worker)
                collected += taken
                if taken >= _BATCH:
                    self._unfinished.append(worker)
        except BaseException:  # nobody tells of their news once more
            self._unfinished += [worker, *left]
            raise
        if collected:
            self._empty_looks = 0
            self._tell_of_results()
        return collected

    def _tell_of_results(self) -> None:
        """Results were taken: rings have room, the outbox has something to send."""
        self._pump()
        self._verdicts.announce()

    def _tell_of_room(self) -> None:
        """Slots are free. Told after what was announced has gone out: nobody waits for that but the next tasks."""
        self._link.slots_changed()
        self._on_settled()

    def collect(self, worker: Worker) -> None:
        """Take all that one worker has answered, for somebody who is about to judge it.

        The doorbell that was rung for these results will find the ring empty, so their news is spread from here; not
        at once, because what is free now depends on the judgement.
        """
        failures: list[BaseException] = []
        for _ in range(_TRIES_FOR_A_JUDGE):
            while self._take_or_fail(worker, failures):
                pass
            if not worker.unread:
                break
            time.sleep(_TRY_PAUSE_S)  # afterwards it may be too late: what it has waits for a descriptor
        self._loop.call_soon(self._tell_of_results)
        self._loop.call_soon(self._tell_of_room)
        if failures:
            raise failures[0]

    def _take_or_fail(self, worker: Worker, failures: list[BaseException]) -> int:
        """As ``_take``, but what is raised at one record keeps none of the others from being taken."""
        try:
            return self._take(worker)
        except Exception as error:
            failures.append(error)
            return 1

    def _take(self, worker: Worker) -> int:
        """A batch of what one worker has answered; how many records. A worker whose ring is damaged is killed."""
        if worker.damaged:
            return 0
        try:
            records = worker.cell.results.pop_many(_BATCH)
        except RingCorruptError as exc:
            self._cannot_read(worker, exc)
            return 0
        if worker.unread:
            records = worker.unread + records
        left = iter(records)
        held_back: list[bytes] = []
        try:
            for record in left:
                if not self._accept(worker, record, not held_back):
                    held_back.append(record)
        except RingCorruptError as exc:
            self._cannot_read(worker, exc)
            return 0
        finally:
            worker.unread = [*held_back, *left]  # what was raised concerns one of them; the others are finished results
        if held_back:
            self._retry_later(worker)
        return len(records) - len(held_back)

    def _retry_later(self, worker: Worker) -> None:
        if worker not in self._unfinished:
            self._unfinished.append(worker)
        if self._retry_timer is None:
            self._retry_timer = self._loop.call_later(_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        if self._next_look is None:
            self._on_bell()

    def _cannot_read(self, worker: Worker, why: Exception) -> None:
        if self._dispatcher.has_worker(worker.id):
            self._dispatcher.close_worker(worker.id)
        self._pool.give_up(worker, "result_ring_unreadable", str(why))

    def _accept(self, worker: Worker, record: bytes, may_take_parcel: bool) -> bool:
        """Take one record; ``False`` if its body cannot be taken now, for want of a descriptor, or because the body of
        an earlier one comes first. Raises ``RingCorruptError`` for what cannot be."""
        try:
            result = frame.decode_result(record)
            if not result.by_reference:
                body = result.body
            elif may_take_parcel:
                body = worker.take_parcel(self._max_result)
            else:
                return False
        except parcels.NotNow:
            return False
        except _UNREADABLE as exc:
            raise RingCorruptError(str(exc)) from exc
        if result.seq == frame.READY_SEQ:
            if worker.state not in (State.STARTING, State.CONDEMNED):
                raise RingCorruptError("a worker that serves says once more that it is ready")
            self._pool.on_ready(worker)
        elif result.skipped:
            self._dispatcher.return_skipped(worker.id, result.seq)
        else:
            assignment = self._dispatcher.finish(worker.id, result.seq, result.run_ns)
            if assignment is not None:
                self._verdicts.pass_on(assignment.task, result.status, body)
        return True
