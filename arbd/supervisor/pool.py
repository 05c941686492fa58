"""The pool: as many workers as there are slots, whatever becomes of each.

Not dispatch: which worker gets a task is decided in ``arbd.core.dispatch``; and not their tasks, which are
``arbd.supervisor.flow``'s. A slot is a place (its CPUs), a worker id is one process, never used twice.

    wanted ─> spawn ─> STARTING ──READY record──> SERVING ──exit──> replaced at once
                 │         ├──exit before ready──> replaced after a pause; too often: the daemon stops
                 │         └──``Unfit``──────────> replaced after a pause of the slot's own, for ever
                 └──no descriptor, memory or process to be had──> as after an exit before ready

    a worker that serves:  ``Leaving``       no more tasks; its successor starts at once, it has its stop phase
                           ``ReplaceSoon``   one at a time: a successor beside it, and when that is ready it retires
                           dies              replaced at once; after a pause if it had finished no task

Its parts: ``slots`` (when is a slot filled), ``lives`` (each process from birth to removal), ``succession`` (workers
that are replaced though they serve), ``news_board`` (who has published something).

Not all at once: so many messages to the zygote, with so many descriptors in them, are more than a socket holds.

A reload starts the new generation's workers beside the old ones, which leave once the first new one is ready: from that
moment the new actions are in force, and no worker that does not have them gets a task.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final

from arbd.core.history import History, Why, shown
from arbd.core.lifecycle import State
from arbd.core.placement import in_words
from arbd.core.recycling import RecycleLimits, bounds_of
from arbd.errors import EXIT_UNFIT, ConfigError
from arbd.host import doorbell
from arbd.host.fence import make_fence
from arbd.ipc import author_page
from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon, Unfit
from arbd.ipc.ring import RingCorruptError
from arbd.logs import get_logger
from arbd.logs.notable import keep, note
from arbd.supervisor.author_pages import AuthorPages
from arbd.supervisor.limits.limits import DaemonLimits
from arbd.supervisor.lives import Lives, WorkerTimes
from arbd.supervisor.news_board import NewsBoard
from arbd.supervisor.pool_events import Nobody, PoolEvents
from arbd.supervisor.slots import Slots, Trouble
from arbd.supervisor.succession import Succession
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink

_MOST_LEAVING: Final = 2  # of one slot, beside the one that serves or starts
_MOST_REASONS: Final = 50  # there are a dozen; a worker's memory is the author's to damage, and so are its words
_MOST_UNBORN: Final = 16  # workers asked for, and not yet there: 9 descriptors each, and a socket takes about 278


class Pool:
    """All workers of the daemon. ``cpus``: those of each slot, none where it is not pinned. ``zygote``: the one
    that the first workers will come from."""

    def __init__(
        self,
        cpus: Sequence[tuple[int, ...]],
        ring_bytes: int,
        limits: DaemonLimits,
        zygote: ZygoteLink,
        times: WorkerTimes = WorkerTimes(),  # noqa: B008 # a tuple of numbers
        recycle: RecycleLimits = RecycleLimits(),  # noqa: B008 # the same
        author_series: int = author_page.DEFAULT_LIMIT,
    ) -> None:
        self._cpus = list(cpus)  # also of slots that have gone, until the last worker there has ended
        self.limits = limits
        self.zygote = zygote
        self.recycle = recycle
        self.author_pages = AuthorPages(author_series)
        self.history = History()
        self.replaced: Counter[str] = Counter()  # workers, by the reason for which they were replaced
        self.on_fresh: Callable[[Worker], None] = lambda worker: None  # told of each that is ready, before its tasks
        self.fence = make_fence()
        self.bell = doorbell.create(blocking=False)  # who has something for the supervisor rings it
        self._board = NewsBoard(len(cpus))
        self.board = self._board.words
        self._ring_bytes = ring_bytes
        self._next_id = 1
        self._generations = 0
        self._of_slot: list[list[Worker]] = [[] for _ in cpus]  # more than one while a worker is replaced
        self._crowded: set[int] = set()  # slots in which too many left at once; told once until none leaves there
        self._slots = Slots(len(cpus), self._fill, lambda by_machine: self._events.on_cannot_boot(by_machine))
        self._lives = Lives(times, self.fence, self)
        self.workers = self._lives.workers
        self._succession = Succession(self.workers, self._slots.want, self.replace_now, self._slots.pauses)
        self._slots.on_pause_over = self._succession.go_on
        self._events: PoolEvents = Nobody()
        self._log = get_logger("arbd.pool")

    def start(self, events: PoolEvents) -> None:
        """Whom to tell; there are no workers before ``move_to``."""
        self._events = events

    def configure(self, times: WorkerTimes, recycle: RecycleLimits) -> None:
        """Set how long workers may take to start and stop, and when those that are started from now on are replaced."""
        self._lives.times = times
        self.recycle = recycle

    # -- looking -------------------------------------------------------------------------------------------

    def cpus_of(self, worker: Worker) -> tuple[int, ...]:
        """The CPUs that a worker is pinned to; none: it is not."""
        return self._cpus[worker.slot]

    def serves(self) -> bool:
        """Whether any worker runs tasks, now or in a moment."""
        return any(worker.state in (State.SERVING, State.RETIRING) for worker in self.workers.values())

    @property
    def size(self) -> int:
        """How many slots there are: how many workers the daemon is to have."""
        return self._slots.count

    @property
    def is_closed(self) -> bool:
        """Whether no worker is started any more: the daemon ends."""
        return self._slots.is_closed

    def is_complete(self, zygote: ZygoteLink | None = None) -> bool:
        """Whether every slot has a worker that serves; one of this ``zygote``, if that is given."""
        return not self.missing(zygote)

    def missing(self, zygote: ZygoteLink | None = None) -> set[int]:
        """The slots without a worker that serves, or without one of this ``zygote``."""
        return set(range(self.size)) - self._serving_slots(zygote)

    def surplus(self) -> list[Worker]:
        """The workers in slots that have gone, the last slot first."""
        return sorted((each for each in self.workers.values() if each.slot >= self.size), key=lambda each: -each.slot)

    def out_of_service(self) -> dict[int, Trouble]:
        """The slots that have no worker that serves, and in which none can be started for now, with the reason."""
        serving = self._serving_slots()
        return {slot: trouble for slot, trouble in sorted(self._slots.troubles.items()) if slot not in serving}

    def trouble_of(self, slot: int) -> Trouble | None:
        """What has kept workers of this slot from being started, if anything."""
        return self._slots.troubles.get(slot)

    def _serving_slots(self, zygote: ZygoteLink | None = None) -> set[int]:
        serving = (worker for worker in self.workers.values() if worker.state is State.SERVING)
        return {worker.slot for worker in serving if zygote in (None, worker.zygote)}

    def _newest_serves(self) -> bool:
        """Whether any worker of the newest generation does."""
        return any(worker.zygote is self.zygote and worker.state is State.SERVING for worker in self.workers.values())

    def with_news(self) -> list[Worker]:
        """The workers that may have published something since this was asked last."""
        return [worker for slot in self._board.slots_with_news() for worker in self._of_slot[slot]]

    def unheard(self) -> frozenset[tuple[int, int]]:
        """The workers that have published something which nobody has looked at, each with the place up to which its
        results were read."""
        published = [worker for slot in self._board.unseen() for worker in self._of_slot[slot]]
        return frozenset(
            (worker.id, worker.cell.results.place)
            for worker in published
            if not worker.damaged and not worker.cell.results.is_empty()
        )

    def serving(self) -> set[int]:
        """The slots that have a worker that serves."""
        return self._serving_slots()

    # -- how many ------------------------------------------------------------------------------------------

    def resize(self, cpus: Sequence[tuple[int, ...]]) -> None:
        """Have as many slots as ``cpus`` has, with these CPUs. New ones are filled; what serves in one that goes is
        ``surplus``, and serves until it is told to ``retire``."""
        self._cpus[: len(cpus)] = cpus
        self._of_slot += [[] for _ in range(len(cpus) - len(self._of_slot))]
        if len(cpus) > self.size:
            self._resize_board(len(cpus))
        self._slots.resize(len(cpus))
        for worker in self.surplus():
            if worker.state is State.STARTING:
                worker.is_dismissed = True
                self.kill(worker)
        self._resize_board(len(cpus))

    def _resize_board(self, count: int) -> None:
        """Look at the slots that there are, and at those that have gone where a worker is left."""
        self._board.resize(max([count, *(worker.slot + 1 for worker in self.workers.values())]))

    def retire(self, worker: Worker) -> None:
        """Have a worker that serves leave when it has finished what it has; nobody takes its place."""
        self._lives.retire(worker)

    # -- one generation after the other --------------------------------------------------------------------

    def move_to(self, zygote: ZygoteLink) -> None:
        """Start a worker of this zygote in every slot. Once the first of them is ready, all older workers leave.

        Raises ``ConfigError`` if its limits cannot be had; then nothing has changed.
        """
        before, wanted = self.zygote, self._slots.want_all()
        self.zygote = zygote
        try:
            self._fill(must_have_limits=True)
        except ConfigError:
            self.zygote = before
            self._slots.restore(wanted)
            raise
        self._slots.begin_anew()
        self._generations += 1
        zygote.generation = self._generations

    def move_back(self, zygote: ZygoteLink) -> None:
        """Go back to the generation before, because workers of the newest cannot boot."""
        self.zygote = zygote
        self._slots.clear()
        for worker in list(self.workers.values()):
            if worker.zygote is not zygote and worker.state is State.STARTING:
                self.kill(worker)
        self._slots.want_all()
        self._fill()

    def _retire_older(self, newest: ZygoteLink) -> None:
        if newest is not self.zygote:
            return
        for worker in list(self.workers.values()):
            if worker.zygote is newest:
                continue
            if worker.state is State.SERVING:
                self._lives.retire(worker)
            elif worker.state is State.STARTING:
                self.kill(worker)

    # -- spawn ---------------------------------------------------------------------------------------------

    def _fill(self, *, must_have_limits: bool = False) -> None:
        """Start workers where they are wanted, as far as that can be done now."""
        while len(self._lives.unborn) < _MOST_UNBORN and self.zygote.answers:
            slot = self._slots.take()
            if slot is None:
                return
            if self._has_successor(slot):
                continue
            try:
                self._spawn(slot)
            except ConfigError as error:
                if must_have_limits:
                    raise
                self._not_started(slot, str(error))  # they could be had when this generation came
            except OSError as error:
                self._not_started(slot, str(error))

    def _has_successor(self, slot: int) -> bool:
        return any(
            worker.zygote is self.zygote
            and (
                worker.state is State.STARTING
                or (worker.state is State.SERVING and not self._succession.is_superseded(worker))
            )
            for worker in self._of_slot[slot]
        )

    def _spawn(self, slot: int) -> None:
        """Ask for a worker. Raises ``OSError`` or ``ConfigError``; then there is nothing of it."""
        worker = Worker(self._next_id, slot, self.zygote, self._ring_bytes)
        self._next_id += 1
        worker.bounds = bounds_of(self.recycle, worker.id)
        with ExitStack() as undo:
            undo.callback(worker.close)
            self.limits.attach(worker.id, self.zygote.description, worker.seats, worker.answers_bell, worker.bell)
            undo.callback(self.limits.detach, worker.id)
            metrics_fd = self.author_pages.take(worker.id)
            undo.callback(self.author_pages.give_back, worker.id)
            spawn = protocol.Spawn(
                worker.id, slot, self._cpus[slot], worker.bounds.max_tasks, self.recycle.memory_limit
            )
            self.zygote.spawn(spawn, worker.handles(self._board.fd, self.bell, self.limits.bell, metrics_fd))
            undo.pop_all()
        worker.handed_over()
        self._of_slot[slot].append(worker)
        self._lives.begin(worker)

    def _not_started(self, slot: int, reason: str) -> None:
        self._slots.not_started(slot, reason, others_serve=self._newest_serves())
        self._succession.cannot_have(slot)

    # -- what zygotes say ----------------------------------------------------------------------------------

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        """The zygote has forked a worker."""
        self._lives.on_spawned(worker_id, pid, pidfd)

    def on_exited(self, worker_id: int, status: int, reason: str = "") -> None:
        """The zygote has reaped a worker: its tasks are settled, and it is replaced. ``reason``: it could not be
        started."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        began, ended_itself = worker.cell.running().seq, worker.state is State.SERVING
        has_worked = worker.cell.totals()[0] > 0
        self._lives.remove(worker, status)
        if worker.booted and not has_worked and (ended_itself or worker.left_unused or worker.damaged):
            self._slots.ended_early(worker.slot, at_task=began != 0)
        elif worker.booted:
            self._slots.worked(worker.slot)
        elif worker.zygote is not self.zygote or worker.is_dismissed:
            self._slots.want(worker.slot)
        elif reason:
            self._not_started(worker.slot, reason)
        elif worker.unfit or status == EXIT_UNFIT:
            self._slots.unfit(worker.slot, worker.unfit or "it ended as one that is unfit, and did not say why")
            self._succession.cannot_have(worker.slot)
        else:
            self._slots.cannot_boot(worker.slot, status, others_serve=self._newest_serves())
            self._succession.cannot_have(worker.slot)
        self._fill()

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """A zygote has died: all its workers die with it, and nobody reports their ends any more."""
        self._lives.lose_all_of(zygote)
        self._fill()

    # -- what workers say ----------------------------------------------------------------------------------

    def on_ready(self, worker: Worker) -> None:
        """A worker's first record has come: it can take tasks, once its zygote has told of it. Until then nobody could
        kill it at a deadline, and the zygote may be about to give it up."""
        worker.said_ready = True
        if not worker.pid or not self._lives.ready(worker):
            return
        self._log.debug("worker_ready", worker=worker.slot, pid=worker.pid, cpus=in_words(self._cpus[worker.slot]))
        self._slots.ready(worker.slot)
        self.on_fresh(worker)
        self._retire_older(worker.zygote)
        self._succession.ready(worker)
        self._events.on_worker_ready(worker)

    def heed(self, worker: Worker, notice: Notice) -> None:
        """A worker says something of itself. Raises ``RingCorruptError`` for what it cannot say."""
        if isinstance(notice, Unfit):
            if worker.said_ready or worker.unfit:
                raise RingCorruptError("a worker says that it is unfit, and had said that it is ready, or unfit")
            worker.unfit = notice.detail or "it did not say why"
            self._lives.leave(worker)
        elif not worker.said_ready or worker.said_leaving:
            raise RingCorruptError("a worker says something of its end that is not ready, or has said that it leaves")
        elif isinstance(notice, ReplaceSoon):
            self.ask_to_replace(worker, notice.reason, notice.detail)
        elif isinstance(notice, Leaving):
            self._heed_leaving(worker, notice)

    def _heed_leaving(self, worker: Worker, notice: Leaving) -> None:
        if notice.reason == "told" and worker.state in (State.STARTING, State.SERVING):
            raise RingCorruptError("a worker says that it was told to leave, and was not")
        worker.said_leaving = True
        if notice.reason != "told":
            self.note(worker, Why(notice.reason, notice.detail, notice.action))
        worker.left_unused = worker.state is State.SERVING and not worker.cell.totals()[0]
        self._lives.leave(worker)
        if worker.state is State.LEAVING and not worker.left_unused:
            self._make_room(worker.slot)
            self._slots.want(worker.slot)

    def _make_room(self, slot: int) -> None:
        """Kill those that have been leaving for longest, where workers of a slot leave faster than they end: each is a
        process with all its memory. They begin nothing any more, so no task is lost."""
        leaving = [worker for worker in self._of_slot[slot] if worker.state is State.LEAVING]
        if self._slots.is_closed or len(leaving) <= _MOST_LEAVING:
            return
        if slot not in self._crowded:
            self._crowded.add(slot)
            hint = (
                f"its workers are replaced faster than their stop hooks end: {_MOST_LEAVING} may be leaving at once, "
                "and the oldest is killed; make the stop hooks shorter, or lower worker.stop_timeout"
            )
            note(self._log, "warning", "worker_stop_too_slow", worker=slot, leaving=len(leaving), hint=hint)
        for worker in leaving[:-_MOST_LEAVING]:
            self._lives.kill(worker)

    def note(self, worker: Worker, why: Why) -> None:
        """Note why a worker is replaced; the first reason is the one that counts."""
        if worker.why is None:
            worker.why = why
            known = why.reason in self.replaced or len(self.replaced) < _MOST_REASONS
            self.replaced[why.reason if known else "other"] += 1
            count = self.history.note(time.monotonic_ns(), worker.slot, why)
            if count:
                fields: dict[str, Any] = {"action": shown(why.action)} if why.action else {}
                fields |= {"count": count} if count > 1 else {}
                keep(
                    "info", "worker_replaced", worker=worker.slot, reason=why.reason, detail=shown(why.detail), **fields
                )

    # -- one after the other: replaced though it serves ------------------------------------------------------

    def ask_to_replace(self, worker: Worker, reason: str, detail: str) -> None:
        """Have a worker replaced once its successor is ready; one at a time."""
        self._succession.ask_to_replace(worker, reason, detail)

    def is_to_be_replaced(self, worker: Worker) -> bool:
        """Whether it is being replaced, or is to be."""
        return self._succession.is_to_be_replaced(worker)

    def replace_now(self, worker: Worker, why: Why) -> None:
        """Have a worker that serves leave after what it has; its successor is there, or starts at once."""
        self.note(worker, why)
        self._lives.retire(worker)
        self._slots.want(worker.slot)

    # -- kill ------------------------------------------------------------------------------------------------

    def kill(self, worker: Worker) -> None:
        """Kill a worker now."""
        self._lives.kill(worker)

    def give_up(self, worker: Worker, event: str, reason: str) -> None:
        """Kill a worker whose memory holds what cannot be: nobody can tell any more which of its tasks had run."""
        self.note(worker, Why("damaged", reason))
        self._lives.give_up(worker, event, reason)

    # -- what the lives of workers bring ---------------------------------------------------------------------

    def on_worker_born(self, worker: Worker) -> None:
        """Its process exists."""
        if worker.said_ready and worker.state is State.STARTING:
            self.on_ready(worker)
        self._fill()

    def on_worker_retiring(self, worker: Worker) -> None:
        """It gets no more tasks."""
        self._events.on_worker_retiring(worker)

    def has_tasks(self, worker: Worker) -> bool:
        """Whether it has any that it has not answered."""
        return self._events.has_tasks(worker)

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        """It ended; its memory can still be read."""
        self._events.on_worker_gone(worker, status)
        if worker.state is State.SERVING:
            self.note(worker, Why("died", how_it_ended(status)))

    def on_worker_removed(self, worker: Worker) -> None:
        """Nothing of it is left."""
        self._of_slot[worker.slot].remove(worker)
        if not any(other.state is State.LEAVING for other in self._of_slot[worker.slot]):
            self._crowded.discard(worker.slot)
        if worker.slot >= self.size:
            self._resize_board(self.size)
        self.author_pages.give_back(worker.id)
        try:
            self.limits.detach(worker.id)
        finally:
            self._succession.gone(worker)
            self._fill()

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        """A zygote neither starts workers nor says who ended."""
        self._events.on_zygote_silent(zygote)

    # -- the end -----------------------------------------------------------------------------------------------

    def stop_replacing(self) -> None:
        """Replace no worker any more."""
        self._slots.close()
        self._succession.close()

    def tell_all_to_leave(self) -> None:
        """Have every worker end in order; those that are not yet ready have nothing to end."""
        for worker in list(self.workers.values()):
            if worker.state is State.SERVING:
                self._lives.retire(worker)
            elif worker.state is State.STARTING:
                self.kill(worker)

    def close(self) -> None:
        """Give everything back; the zygotes are closed by their owner."""
        self.stop_replacing()
        self._lives.close()
        self._of_slot.clear()
        self._board.close()
        self.author_pages.close()
        os.close(self.bell)


def how_it_ended(status: int | None) -> str:
    """The end of a worker in words: the name of the signal, or the exit code."""
    if status is None:
        return "it ended, nobody can tell how"
    if status >= 0:
        return f"it exited with code {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"it was killed by signal {-status}"
