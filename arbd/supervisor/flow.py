"""Every task under way, from its arrival to its verdict.

    link ── take ──> under way? ──yes──> joins      its one result answers for every hand-out of the id
                        └─no─> refuse? ──yes──> give          unknown action, too large, too late: no worker sees it
                                  └─ its action is paused ─> paused ── resume ──> dispatcher
                        └─no─> dispatcher ─> worker.push ─> task ring       pump: those that wait, when there is room
    link <─ outbox <─ give <──── collect <─ worker's result ring
                        ^ ^
     lose: its worker ──┘ └── settle: a worker has ended, and with it all that it had
     was killed for it

Who else has to do with a task calls these verbs: links (this is their ``HubPort``), ``wakeup``, ``watch``, ``halt``,
``drain``, ``generations``. None of them holds a part of that state.

Invariants:

* each task that came is with the dispatcher, waits for a paused action, or has its verdict, whatever is raised here;
* a verdict is given once; one that the outbox does not take is kept here and offered to it again;
* payloads and results are opaque: nothing that a caller or an author wrote is decoded here.

Tasks are sent, and what can wait is done while the worker wakes up. A task that cannot be handed to its worker,
because there is no descriptor or memory for it, goes back in line and is tried again for a while (``core.stuck``).
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from arbd.core.dispatch import Assignment, Dispatcher
from arbd.core.flight_recorder import FlightRecorder
from arbd.core.history import Culprits, Why, is_worth_a_line, shown
from arbd.core.lifecycle import State
from arbd.core.metrics import TaskMetrics
from arbd.core.outbox import MemoryOutbox, Verdicts
from arbd.core.progress import Sight
from arbd.core.streaks import LENGTH, Streaks
from arbd.core.stuck import Stuck
from arbd.core.under_way import UnderWay
from arbd.host import doorbell, parcels
from arbd.ipc import frame, notice
from arbd.ipc.ring import RingCorruptError
from arbd.links.base import HubLink, LinkProcesses
from arbd.logs import get_logger, task_fields
from arbd.logs.notable import note
from arbd.model.description import ActionInfo, Description
from arbd.model.encoding import Encoder
from arbd.model.flight import Flight
from arbd.model.reasons import NUMBER_OF, reason_of
from arbd.model.response import (
    ProviderResponse,
    aborted,
    cancelled,
    expired,
    no_resources,
    timed_out,
    worker_lost,
)
from arbd.model.task import Outcome, Status, Task
from arbd.settings.table import Settings
from arbd.supervised import report
from arbd.supervisor.admission import Admission
from arbd.supervisor.joins import Joins
from arbd.supervisor.later import Later
from arbd.supervisor.limits.hold import Hold
from arbd.supervisor.lost_run import LostRun, WorkerEnd, end_of
from arbd.supervisor.pool import Pool, how_it_ended
from arbd.supervisor.refusal_lines import RefusalLines
from arbd.supervisor.task_stacks import TaskStacks
from arbd.supervisor.worker import Worker

_RETRY_S: Final = 0.05  # until what could not be done is tried again, if nothing happens before
_INVALID: Final = NUMBER_OF["invalid"]
_BATCH: Final = 64  # results of one worker before the next one's turn
_TRIES: Final = 20  # for a result whose body cannot be taken, while somebody waits for all that its worker has answered
_TRY_PAUSE_S: Final = 0.001
_UNREADABLE: Final = (RingCorruptError, struct.error, IndexError, ValueError, OSError)


class Flow:
    """The owner of every task under way: a ``HubPort`` for links, and verbs for the rest of the supervisor.

    ``on_sent`` is called with the workers that were sent something, and the shortest timeout of it in seconds; also
    when tasks that they have were cancelled: these have no time left but the grace. ``on_collected`` is called when
    workers' answers were taken. ``progress`` is set whenever tasks may have ended."""

    def __init__(self, settings: Settings, encoder: Encoder, pool: Pool, link: HubLink) -> None:
        self.pool = pool
        self.link = link
        self.dispatcher = Dispatcher(settings.prefetch)
        self.under_way = UnderWay()
        self.recorder = FlightRecorder(self.under_way, time.monotonic_ns)
        self.outbox = MemoryOutbox(self.under_way, self.recorder.acks)
        self.verdicts = Verdicts(self.outbox)
        self.culprits = Culprits()
        self.admission = Admission(settings.max_payload)
        self.paused = self.admission.paused
        self.task_stacks = TaskStacks()
        self.streaks = Streaks()
        self.refusals = RefusalLines()
        self.actions: Sequence[ActionInfo] = ()
        self.metrics: TaskMetrics | None = None  # only where somebody can read them
        self.on_worker_gone: Callable[[Worker], None] = lambda worker: None
        self.shortest_s = settings.execution_timeout  # the shortest timeout of any action
        self.on_sent: Callable[[set[int], float], None] = lambda sent, shortest_s: None
        self.on_collected: Callable[[], None] = lambda: None
        self.link_processes: list[LinkProcesses] = []
        self.progress = asyncio.Event()
        self._settings = settings
        self._largest_result = settings.max_result  # of any generation: one that is leaving has its own limit
        self._encode = encoder.encode_any_size
        self._hold = Hold(pool.limits, pool, self.dispatcher, link)
        self._joins = Joins(link)
        self._batch_ns = 0  # when the batch of answers was taken that is looked at
        self._uncounted: list[Flight] = []  # of that batch
        self._record = self.recorder.flights.append
        self._timeout_of = self.admission.timeout_of
        self._stuck = Stuck()
        self._unfinished: list[Worker] = []  # those with more in their rings than one turn takes
        self._late_pump = Later(_RETRY_S, self.pump)
        self._late_collect = Later(_RETRY_S, self.look_soon)
        self._late_announce = Later(_RETRY_S, self.announce)
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.flow")

    def close(self) -> None:
        """Cancel every timer."""
        self._hold.close()
        self.refusals.close()
        self._joins.close()
        for timer in (self._late_pump, self._late_collect, self._late_announce):
            timer.cancel()

    # -- take: tasks in ----------------------------------------------------------------------------------

    def free_slots(self) -> int:
        """How many more tasks could start soon; none while too many results wait for the hub."""
        if len(self.outbox) >= self._settings.outbox_limit:
            return 0
        return max(0, min(self.dispatcher.free_slots(), self._hold.room()) - self._joins.held)

    @property
    def _timeouts(self) -> dict[str, float]:
        return self.admission.timeouts

    def timeout_of(self, action: str) -> float | None:
        """How long a task of this action may run, in seconds; ``None``: there is no such action."""
        return self._timeouts.get(action)

    def in_flight(self) -> int:
        """Tasks that have come, and have no verdict yet."""
        return self.dispatcher.in_flight() + self.paused.waiting

    def take(self, tasks: Sequence[Task]) -> None:
        """Take tasks over from a link, and send them on together; those whose ids are under way join these."""
        under_way, now_ns = self.under_way, time.monotonic_ns()
        sent: set[int] = set()
        shortest, worker_id = math.inf, None
        refused = False
        left = iter(tasks)
        try:
            for task in left:
                task_id = task.id
                if task_id in under_way and task_id:
                    under_way.join(task, now_ns)
                    continue
                under_way[task_id] = (task, now_ns, False)
                timeout = self._timeout_of(task)
                if isinstance(timeout, ProviderResponse):
                    refused |= self._refuse(task, timeout)
                    continue
                placed = self.dispatcher.place(task, timeout, worker_id, now_ns)
                if placed is not None and self._send(*placed):
                    worker_id = placed[0]
                    sent.add(worker_id)
                    if timeout < shortest:  # not `min`, which takes four times as long
                        shortest = timeout
        except BaseException:
            self._abandon(task, left)
            raise
        finally:
            self._wake(sent, shortest)
        if refused:
            self.announce()
        if under_way.joins:
            self._joins.note(under_way.take_joins(), self._timeouts)

    def _abandon(self, task: Task, others: Iterable[Task]) -> None:
        """Something unexpected happened at this task, and these were to come after it: the daemon is about to end."""
        under_way = self.under_way
        if not (self.has_no_verdict(task) or self.verdicts.has_kept(task)):
            others = (task, *others)
        for each in others:
            try:
                first = under_way.setdefault(each.id, (each, 0, False))[0]
                if first is each or not each.id:
                    self.decide(each, aborted(each.action))
            except Exception as error:  # the others get theirs all the same
                report(error, "tasks that came when something unexpected happened")
        self.announce()

    def has_no_verdict(self, task: Task) -> bool:
        """Whether this very task is somewhere here, and not yet answered. Looks at all of them."""
        return self.dispatcher.has_task(task) or self.paused.has_task(task)

    def _refuse(self, task: Task, response: ProviderResponse) -> bool:
        """Give a task that may not run now its verdict; ``False``: its action is paused, and it waits for the end of
        that."""
        if response.status == "limit":
            if self.paused.keep(task):
                return False
            late = self.paused.take_late(time.monotonic())
            self._give_each(late, expired)
            if late and self.paused.keep(task):
                return True
            self.paused.note_refused(task.action)
        else:
            self.refusals.refused(task, response)
        self.decide(task, response)
        return True

    def refuse_all(self) -> None:
        """Abort every task that comes from now on: the drain is over."""
        self.admission.is_closed = True

    # -- pump: to the workers ------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what waits, as far as workers have room."""
        dispatcher, sent = self.dispatcher, set[int]()
        shortest, worker_id = math.inf, None
        refused, now_ns = False, 0
        try:
            while (chosen := dispatcher.next_assignment(worker_id)) is not None:
                worker_id, assignment = chosen
                if (refusal := self._late_refusal(assignment)) is not None:
                    dispatcher.finish(worker_id, assignment.seq, None)
                    self._refuse(assignment.task, refusal)
                    refused = True
                elif self._send(worker_id, assignment):
                    assignment.sent_ns = now_ns = now_ns or time.monotonic_ns()
                    sent.add(worker_id)
                    shortest = min(shortest, assignment.timeout)
                else:
                    break  # the next result makes room, and pumps again; or the timer does
        except BaseException:  # the others wait on, and there may be no result that would have them sent
            self._pump_soon()
            raise
        finally:
            self._wake(sent, shortest)
        if refused:
            self.announce()
            self.tell_of_room()

    def _late_refusal(self, assignment: Assignment) -> ProviderResponse | None:
        """What may have changed while it waited, here or at a worker that died with it in its ring."""
        task = assignment.task
        if assignment.cancelled:
            return cancelled(task.action)
        if self._stuck.is_given_up(assignment):
            return no_resources(task.action, "the provider has had no memory or descriptor for it")
        timeout = self.admission.time_left(task)
        if isinstance(timeout, ProviderResponse):
            return timeout
        if task.deadline != math.inf:
            assignment.timeout = timeout  # less than when it was offered
        return None

    def _send(self, worker_id: int, assignment: Assignment) -> bool:
        """Put a task into its worker's ring; ``_wake`` must follow. ``False``: it waits again, or has its verdict."""
        worker = self.pool.workers[worker_id]
        try:
            if worker.push(assignment):
                return True
        except RingCorruptError as exc:
            self.dispatcher.close_worker(worker_id)
            self.pool.give_up(worker, "task_ring_unreadable", str(exc))
        except OSError as exc:  # it can never be handed over, for example under a limit of the size of files
            self.dispatcher.finish(worker_id, assignment.seq, None)
            self.decide(assignment.task, no_resources(assignment.task.action, str(exc)))
            self._loop.call_soon(self.announce)
            self._loop.call_soon(self.tell_of_room)
            self._pump_soon()
            return False
        except BaseException:
            self.dispatcher.undo(worker_id, assignment)
            raise
        self.dispatcher.undo(worker_id, assignment)
        self._stuck.tried(assignment, time.monotonic())
        self._pump_soon()
        return False

    def _wake(self, sent: set[int], shortest_s: float) -> None:
        """Wake those of these workers that sleep, once all their tasks have been sent.

        Not after each task: on a busy machine a worker that is woken runs at once, in place of the supervisor, and
        would find one task and go to sleep again. Measured with batches of 28: a third of the supervisor's time.
        """
        if not sent:
            return
        self.pool.fence()
        for worker_id in sent:
            worker = self.pool.workers[worker_id]
            if worker.cell.worker_sleeps():
                doorbell.ring(worker.bell)
        self.on_sent(sent, shortest_s)  # while the worker wakes up

    def _pump_soon(self) -> None:
        if not self.admission.is_closed:
            self._late_pump.ask()

    # -- collect: from the workers ----------------------------------------------------------------------------

    def collect(self) -> int:
        """Take what workers have answered, at most ``_BATCH`` records of each; how many in all."""
        workers: Iterable[Worker] = self.pool.with_news()
        if self._unfinished:
            workers = dict.fromkeys([*self._unfinished, *workers])
            self._unfinished = []
        collected = 0
        left = iter(workers)
        try:
            for worker in left:
                taken = self._take_results(worker)
                collected += taken
                if taken >= _BATCH:
                    self._unfinished.append(worker)
        except BaseException:  # nobody tells of their news once more
            self._unfinished += [worker, *left]
            raise
        if collected:
            self._on_collected()
        return collected

    def _on_collected(self) -> None:
        """Results were taken: rings have room, the outbox has something to send."""
        self.pump()
        self.announce()
        self.on_collected()

    def collect_from(self, worker: Worker) -> None:
        """Take all that one worker has answered, for somebody who is about to judge it.

        The doorbell that was rung for these results will find the ring empty, so the others are told from here; not at
        once, because what is free now depends on the judgement.
        """
        failures: list[BaseException] = []
        for _ in range(_TRIES):
            while self._take_or_fail(worker, failures) and len(failures) < _BATCH:
                pass  # a ring that can never be read ends this, too
            if not worker.unread:
                break
            time.sleep(_TRY_PAUSE_S)  # afterwards it may be too late: what it has waits for a descriptor
        self._loop.call_soon(self._on_collected)
        self._loop.call_soon(self.tell_of_room)
        if failures:
            raise failures[0]

    def _take_or_fail(self, worker: Worker, failures: list[BaseException]) -> int:
        """As ``_take_results``, but what is raised at one record keeps none of the others from being taken."""
        try:
            return self._take_results(worker)
        except Exception as exc:
            failures.append(exc)
            return 1

    def _take_results(self, worker: Worker) -> int:
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
        if records:
            self._batch_ns = time.monotonic_ns()
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
            if self._uncounted:
                self._count(worker)
        if held_back:
            self._collect_later(worker)
        return len(records) - len(held_back)

    def _accept(self, worker: Worker, record: bytes, may_take_parcel: bool) -> bool:
        """Take one record; ``False`` if its body cannot be taken now, for want of a descriptor, or because the body of
        an earlier one comes first. Raises ``RingCorruptError`` for what cannot be."""
        try:
            result = frame.decode_result(record)
            if not result.flags or not result.by_reference:  # flags are rare, and a property takes longer
                body = result.body
            elif may_take_parcel:
                body = worker.take_parcel(self._largest_result)
            else:
                return False
        except parcels.NotNow:
            return False
        except _UNREADABLE as exc:
            raise RingCorruptError(str(exc)) from exc
        except Exception as exc:  # its task has run: the record stays, so that it is not run again
            report(exc, "a result on its way from a worker")
            return False
        if result.flags and result.notice:
            return may_take_parcel and self._heed(worker, result.body)  # never before an answer that waits
        if result.seq == frame.READY_SEQ:
            if worker.said_ready:
                raise RingCorruptError("a worker that serves says once more that it is ready")
            self.pool.on_ready(worker)
        elif result.flags and result.skipped:
            self.dispatcher.return_skipped(worker.id, result.seq)
        else:
            assignment = self.dispatcher.finish(worker.id, result.seq, result.run_ns)
            if assignment is not None:  # else it has its verdict already, and the late answer goes
                if self.culprits.rows:
                    self.culprits.finished(assignment.task.action, worker.id)
                failed = result.status == "error"
                if failed or self.streaks.watched:
                    if failed and result.reason == _INVALID:
                        self.refusals.invalid(assignment.task)
                    self._watch_failures(worker, assignment.task.action, failed)
                flight = Flight(
                    assignment.task.id,
                    assignment.task.action,
                    worker.slot,
                    worker.pid,
                    result.status,
                    assignment.taken_ns,
                    assignment.sent_ns,
                    result.since_ns,
                    result.woke_ns,
                    result.run_ns,
                    self._batch_ns,
                )
                if self.metrics is not None:
                    self._uncounted.append(flight)
                    if failed:
                        self.metrics.failed(flight.action, result.reason)
                self.pass_on(assignment.task, result.status, body)
                self._record(flight)
        return True

    def _count(self, worker: Worker) -> None:
        """Count the tasks of a batch, all at once."""
        flights, self._uncounted = self._uncounted, []
        worker.answered += len(flights)
        if self.metrics is not None:
            self.metrics.finished(flights)

    def _watch_failures(self, worker: Worker, action: str, failed: bool) -> None:
        """Have a worker replaced that fails over and over where another does well."""
        if self.streaks.note(action, worker.id, failed=failed) and worker.state is State.SERVING:
            detail = f"{action} failed {LENGTH} times in a row in it, and in another worker never"
            self.pool.ask_to_replace(worker, "failures", shown(detail))
            self._log.warning("worker_is_broken", worker=worker.slot, pid=worker.pid, action=action, failures=LENGTH)

    def _heed(self, worker: Worker, body: bytes) -> bool:
        """Take a notice. A worker that leaves begins no more: all that it has not answered goes back in line at once,
        in its order; that it says of each that it skipped it is of no interest any more."""
        try:
            said = notice.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise RingCorruptError(str(exc)) from exc
        if isinstance(said, notice.Stopped):
            self._heed_stopped(worker, said)
            return True
        self.pool.heed(worker, said)
        if isinstance(said, notice.Leaving):
            if said.action in self._timeouts:  # else the worker names what is none
                self._blame(said.action, worker)
            if worker.state is not State.CONDEMNED and self.dispatcher.has_worker(worker.id):
                self.give_cancelled(self.dispatcher.take_back(worker.id, frame.READY_SEQ, 0))
        return True

    def _heed_stopped(self, worker: Worker, said: notice.Stopped) -> None:
        if not worker.said_ready:
            raise RingCorruptError("a worker says where a task was, and has not said that it is ready")
        has_tasks = self.dispatcher.has_worker(worker.id)
        assignment = self.dispatcher.outstanding(worker.id).get(said.seq) if has_tasks else None
        if assignment is not None:  # else it has its verdict already
            self.task_stacks.stopped(worker, assignment, said.stack)

    def _blame(self, action: str, worker: Worker) -> None:
        """A worker ended, or ends, for a task of this action."""
        count = self.culprits.ended(action, worker.id)
        if self.metrics is not None:
            self.metrics.ended_worker(action)
        if is_worth_a_line(count):
            note(self._log, "warning", "action_ends_workers", action=action, count=count)

    def _cannot_read(self, worker: Worker, why: Exception) -> None:
        if self.dispatcher.has_worker(worker.id):
            self.dispatcher.close_worker(worker.id)
        self.pool.give_up(worker, "result_ring_unreadable", str(why))

    def _collect_later(self, worker: Worker) -> None:
        if worker not in self._unfinished:
            self._unfinished.append(worker)
        self._late_collect.ask()

    def look_soon(self) -> None:
        """Have workers' answers looked at, as if one had rung: one that was stopped between its answer and the ring
        does not."""
        doorbell.ring(self.pool.bell)  # whoever listens goes on until nothing is left

    # -- give: verdicts ------------------------------------------------------------------------------------------

    def pass_on(self, task: Task, status: Status, result: bytes) -> None:
        """Give a task its worker's answer, as it came. The caller announces it, once for many."""
        try:
            self.verdicts.add(Outcome(task, status, result))
        except BaseException as exc:
            self._late_announce.ask()
            if not isinstance(exc, OSError):
                raise
            fields = task_fields(task.id, task.action, task.traceparent, task.attempt)
            self._log.warning("result_put_off", **fields, reason=str(exc))

    def decide(self, task: Task, response: ProviderResponse, run: LostRun | None = None) -> None:
        """Give a task a verdict of the supervisor's own, in the form of a worker's answer. The caller announces it.
        ``run``: the run that was lost."""
        if self.metrics is not None:
            arrived, now_ns = self.under_way.get(task.id), time.monotonic_ns()
            took_ns = 0 if arrived is None else now_ns - arrived[1]
            self.metrics.decided(task.action, response.status, reason_of(response.data), took_ns)
        try:
            result = self._encode(task.action, response)
        except BaseException:  # a bug in there must not cost the task its verdict
            self.pass_on(task, response.status, msgspec.json.encode(response))
            raise
        self.pass_on(task, response.status, result)
        if run is None:
            self.recorder.decided(task, response.status)
        else:
            self._record(run.flight(response.status, time.monotonic_ns()))

    def give(self, task: Task, response: ProviderResponse, run: LostRun | None = None) -> None:
        """Give a task a verdict of the supervisor's own, and tell the link."""
        self.decide(task, response, run)
        self.announce()

    def give_cancelled(self, assignments: Iterable[Assignment]) -> None:
        """Give each of these, which the dispatcher has no more, its verdict: what fails at one costs no other its
        own."""
        self._give_each([assignment.task for assignment in assignments], cancelled)

    def _give_each(self, tasks: Iterable[Task], verdict: Callable[[str], ProviderResponse]) -> None:
        for task in tasks:
            try:
                self.give(task, verdict(task.action))
            except Exception as exc:
                report(exc, "the verdict of one of many tasks")

    def announce(self) -> None:
        """Tell the link that there is something to send."""
        try:
            if self.verdicts.kept and not self.verdicts.save_kept():
                self._late_announce.ask()
        finally:
            self.link.results_ready()

    def tell_of_room(self) -> None:
        """Tell the link that more tasks could start now. Told after what was announced has gone out: nobody waits for
        that but the next tasks."""
        self.link.slots_changed()
        self.progress.set()

    # -- lose, settle: what ends without an answer ------------------------------------------------------------------

    def lose(self, worker: Worker, assignment: Assignment, verdict: ProviderResponse | None = None) -> None:
        """Give a task its verdict for which its worker has just been killed: it was late, or cancelled and did not
        end, unless ``verdict`` says something else."""
        task = assignment.task
        self._blame(task.action, worker)
        if self.metrics is not None:
            self.metrics.killed(task.action)
        self.dispatcher.close_worker(worker.id)
        ran_ns = None if assignment.cancelled or verdict is not None else round(assignment.timeout * 1e9)
        self.dispatcher.finish(worker.id, assignment.seq, ran_ns)
        late = cancelled(task.action) if assignment.cancelled else self._timed_out(assignment)
        self.give(task, verdict or late, LostRun(worker, assignment))

    def _timed_out(self, assignment: Assignment) -> ProviderResponse:
        action = assignment.task.action
        own_s = next((each.timeout for each in self.actions if each.name == action), None)
        return timed_out(action, assignment.timeout, own_s=own_s, default_s=self._settings.execution_timeout)

    def settle(self, worker: Worker, status: int | None) -> None:
        """Give every task of a worker that has ended its verdict, or put it back in line.

        ``status``: exit code, or minus a signal number; ``None``: nobody can tell. Its memory can still be read.

            its results                              are taken first
            killed for a task that was late          that one has its verdict; the others had not begun: back in line
            died by itself                           the task it was running: WORKER_LOST; the others: back in line
            its ring was damaged                     all it had: WORKER_LOST, for nobody can tell which had run
            a result's body could not be had         WORKER_LOST: it must not run again
            said that it leaves                      it has begun none of what it still had
        """
        try:
            self.collect_from(worker)
        finally:  # whatever was raised at one of its results
            self.streaks.forget(worker.id)
            self.on_worker_gone(worker)
            if self.dispatcher.has_worker(worker.id):
                self._settle_rest(worker, status)
        self.pump()
        self.progress.set()

    def _settle_rest(self, worker: Worker, status: int | None) -> None:
        how = end_of(status)
        had = self.dispatcher.outstanding(worker.id)
        cannot_tell = set(had) if worker.damaged else {frame.decode_result(each).seq for each in worker.unread}
        for seq in cannot_tell & had.keys():
            assignment = had[seq]
            self.dispatcher.finish(worker.id, seq, None)
            self._give_lost(worker, assignment, how)
        # A condemned worker has its verdict, and what its page names as running was parked before it began; one that
        # said that it leaves has begun nothing since.
        has_ended = worker.said_leaving or worker.state is State.CONDEMNED
        loss = self.dispatcher.remove_worker(worker.id, 0 if has_ended else worker.cell.running().seq)
        if loss.running is not None:
            action = loss.running.task.action
            self.pool.note(worker, Why("died", how_it_ended(status), action))
            self._blame(action, worker)
            self._give_lost(worker, loss.running, how)
        elif worker.state is State.SERVING:
            note(self._log, "error", "worker_died_idle", worker=worker.slot, pid=worker.pid, **how)

    def _give_lost(self, worker: Worker, assignment: Assignment, how: WorkerEnd) -> None:
        task = assignment.task
        fields = task_fields(task.id, task.action, task.traceparent, task.attempt)
        note(self._log, "error", "worker_lost", **fields, worker=worker.slot, pid=worker.pid, **how)
        self.give(task, worker_lost(task.action, **how), LostRun(worker, assignment))

    # -- workers, actions and link processes come and go ------------------------------------------------------------

    def configure(self, settings: Settings, encoder: Encoder) -> None:
        """Put these settings in force for tasks that come from now on. Timeouts of actions: by ``set_actions``."""
        self._settings = settings
        self.admission.max_payload = settings.max_payload
        self._largest_result = max(self._largest_result, settings.max_result)
        self._encode = encoder.encode_any_size
        self.dispatcher.set_prefetch(settings.prefetch)

    def set_actions(self, description: Description) -> None:
        """Set which actions can be run from now on. Tasks that wait for one that is gone are told so."""
        default = self._settings.execution_timeout
        self.actions = description.actions
        self.admission.offer({action.name: action.timeout or default for action in description.actions})
        self.verdicts.tally.offer(list(self._timeouts))
        if self.metrics is not None:
            self.metrics.offer(self._timeouts)
        self.shortest_s = min(self._timeouts.values(), default=default)
        self._joins.look_at(self._timeouts)
        self._offer(self.paused.take_out(lambda task: task.action not in self._timeouts))
        waited = self.dispatcher.drop_backlog()
        self.give_cancelled([each for each in waited if each.cancelled])
        again = [each.task for each in waited if not each.cancelled]
        for task in again:
            self.under_way.pop(task.id, None)
        self.take(again)

    def pause(self, action: str) -> bool:
        """Send no more tasks of this action, until ``resume``; whether it was not paused before. What waits in rings
        is the business of ``halt.pause``."""
        is_new = self.admission.pause(action, time.monotonic())
        self.set_aside(action)
        return is_new

    def set_aside(self, action: str) -> None:
        """Have the tasks of a paused action that wait for a worker wait for the end of the pause instead."""
        waited = self.dispatcher.withdraw_action(action)
        self.give_cancelled([each for each in waited if each.cancelled])
        self._offer([each.task for each in waited if not each.cancelled])

    def resume(self, action: str) -> int:
        """Run tasks of this action again; how many had waited for that."""
        waited = self.admission.resume(action)
        self._offer(waited)
        return len(waited)

    def refuse_paused(self) -> None:
        """No task waits for a paused action any more: the daemon is being drained. They are answered, with "limit"."""
        self.paused.is_closed = True
        self._offer(self.paused.take_out(lambda _: True))

    def _offer(self, tasks: Sequence[Task]) -> None:
        """Find the way of these tasks once more, which the dispatcher does not have now."""
        for task in tasks:
            try:
                timeout = self._timeout_of(task)
                if isinstance(timeout, ProviderResponse):
                    self._refuse(task, timeout)
                else:
                    self.dispatcher.offer(task, timeout, self.recorder.taken_ns(task))
            except Exception as exc:  # the others are not to pay for that; a verdict that was begun is given
                report(exc, "a task of a paused action")
        if tasks:
            self.pump()
            self.announce()
            self.tell_of_room()

    def add(self, worker: Worker) -> None:
        """Give this worker tasks from now on."""
        self.dispatcher.add_worker(worker.id)
        self.pump()
        self.link.slots_changed()

    def sight(self, now: float) -> Sight:
        """What waits at this moment, and what could go on, for who judges whether it does."""
        health, stats, first = self.link.health(now), self.link.stats, self.outbox.first
        return Sight(
            first_in_line=self.dispatcher.first_in_line,
            has_idle_worker=self.dispatcher.has_idle_worker,
            tried_at=self._stuck.tried_at,
            unread=self.pool.unheard(),
            first_result=None if first is None else id(first),
            hub_is_up=stats.state == "up",
            link_may_send=health.may_send,
            sent=(stats.submits, stats.accepted, stats.retried, stats.dropped, stats.reconnects),
            overdue=health.overdue,
        )

    def join(self, processes: LinkProcesses) -> int:
        """Have these looked at whenever the supervisor is awake; the doorbell that they ring otherwise."""
        self.link_processes.append(processes)
        return self.pool.bell

    def leave(self, processes: LinkProcesses) -> None:
        """Look at these no more."""
        self.link_processes.remove(processes)

    def note_lease(self, lease_s: float) -> None:
        """The hub hands a task out again after so many seconds."""
        self._joins.note_lease(lease_s, self._timeouts)

    def cancel(self, task_ids: Sequence[str]) -> None:
        """Cancel these tasks, wherever they are: the hub does not want their results any more.

            waits for a worker     is taken out of the line
            waits in a ring        its number goes into the worker's cell: the worker answers instead of running it
            runs                   the same, and a signal: ``TaskCancelled`` is raised inside the action; if it still
                                   runs after the grace, its worker is killed, as for a deadline (``watch``)
            waits for a pause      is answered at once
            has its outcome        the outcome stands; an id that is not known is ignored

        The ring is the worker's to read, so the worker looks: before each task, and when it is signalled. A signal that
        comes when another task runs is ignored there.
        """
        ids = frozenset(task_ids)
        self.give_cancelled(self.dispatcher.withdraw(ids))
        if self.paused.waiting:
            self._give_each(self.paused.take_out(lambda task: task.id in ids), cancelled)
        cancelled_at: set[int] = set()
        for worker_id, assignment in self.dispatcher.assigned(ids):
            if not assignment.cancelled:  # asked again, it has no more time than before
                assignment.cancelled_at_ns = time.monotonic_ns()
            cancelled_at.add(worker_id)
        if cancelled_at:
            self.on_sent(cancelled_at, 0.0)  # first: whatever is raised below, they are looked at
        for worker_id, assignment in self.dispatcher.assigned(ids):
            worker = self.pool.workers[worker_id]
            worker.cell.cancel(assignment.seq)
            worker.signal_cancel()
