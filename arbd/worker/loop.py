"""The main loop of a worker: pop a task, run it, push the answer; sleep when there is none.

    task ring ──pop──> say what runs ──fence──> condemned? ──no──> execute ──push──> result ring ──> doorbell
                                          │        └──yes──> park: the supervisor is about to kill this process
                                          └──> taken back? ──yes──> say that it was skipped

    after the answer: was anything noticed or changed, was it long, is it time to look? ──> put back, or leave

A worker that decides to leave says so (``arbd.ipc.notice``), and answers what still lies in its ring as skipped: the
supervisor puts that back in line.

A body too large for the ring comes and goes by a descriptor. A worker that has none left, because the author's code
holds them all, still has its reserve (``arbd.host.parcels``); without that a task is answered unstarted, and an answer
waits.

``RUNNING_SEQ`` is stored before the payload is touched: whatever the payload does to this process, the supervisor
knows which task did it. The fence after it makes the kill exact: either the supervisor, having condemned, still
reads the old number and kills for that task, or this loop sees the mark before it begins the next one. So a kill
never hits a task that had not earned it.
"""

from __future__ import annotations

import contextvars
import mmap
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from math import ceil, inf
from typing import Final

import msgspec

from arbd import logs
from arbd.errors import TaskCancelled, TaskTimeout
from arbd.host import doorbell, memory, parcels
from arbd.host.fence import make_fences
from arbd.interrupts import uninterruptible
from arbd.ipc import frame, layout, notice
from arbd.ipc.cell import WorkerCell
from arbd.ipc.notice import Leaving, Notice, Stopped
from arbd.logs import stack_lines
from arbd.logs.seldom import Seldom
from arbd.model.reasons import NUMBER_OF
from arbd.model.response import cancelled, worker_exhausted
from arbd.model.task import Status, Task
from arbd.worker import task_context
from arbd.worker.action_cpu import ActionCpu, nowhere
from arbd.worker.children import end_child
from arbd.worker.execute import Context, execute
from arbd.worker.guard import python_state
from arbd.worker.guard.guard import Depth, NoGuard
from arbd.worker.leaving import LeaveReasons
from arbd.worker.limits.seats import WorkerLimits
from arbd.worker.looks import Looks
from arbd.worker.output import LOOK_WORTH_NS as OUTPUT_LOOK_WORTH_NS
from arbd.worker.quota import Quota
from arbd.worker.soft_timer import SoftTimer

_RING_FULL_PAUSE_S: Final = 0.0005  # the supervisor empties rings many times faster; waiting here is rare
_PARKED_PAUSE_S: Final = 0.001
_PARCEL_PAUSE_S: Final = 0.001  # then twice as long each time
_LONGEST_PARCEL_PAUSE_S: Final = 0.1
_PARCEL_TIMEOUT_S: Final = 1.0
_TRUSTED: Final = sys.maxsize  # bytes of a parcel: the supervisor has checked what it sends
# The CPU clock is a system call, 0.6 µs with what it does to the caches: a tenth of a trivial task. So totals are
# published after a task that ran for longer, every so many tasks, and before sleep; looks come at most as often
# (``arbd.worker.looks``).
_LOOK_WORTH_NS: Final = 50_000
_LOOK_EVERY: Final = 64
_WHERE_EVERY_S: Final = 10.0
_OUTPUT_LOOKS_APART_NS: Final = 50_000_000  # of proven actions: from cold caches one takes 30 to 50 µs


class Loop:
    """The state of one worker process, and its main loop."""

    # An attribute of an object with more than thirty takes 3 ns longer (CPython 3.11, 3.12): a task reads some seventy.
    __slots__ = (
        "_action_cpu",
        "_actions",
        "_bell",
        "_board",
        "_busy_ns",
        "_context",
        "_counted_action",
        "_done",
        "_fence_begin",
        "_fence_publish",
        "_fresh",
        "_here",
        "_inline_limit",
        "_is_as_before",
        "_is_cancelled",
        "_is_leaving",
        "_is_taken_back",
        "_last_action",
        "_leave_reasons",
        "_level",
        "_limits",
        "_log",
        "_look_at_output",
        "_looked_action",
        "_looks",
        "_news_at",
        "_notice_news",
        "_noticed",
        "_output_look_at_ns",
        "_proven",
        "_quota",
        "_repeated",
        "_results",
        "_results_bell",
        "_set_level",
        "_side",
        "_skip_news",
        "_tasks",
        "_timer",
        "_told_where",
        "_woken_ns",
        "_words",
        "_worker_id",
    )

    def __init__(
        self,
        cell: WorkerCell,
        board_memory: mmap.mmap,
        *,
        worker_id: int,
        slot: int,
        bell: int,
        results_bell: int,
        side: socket.socket,
        actions: Sequence[str],
        limits: WorkerLimits,
        context: Context,
        timer: SoftTimer,
        quota: Quota | None = None,
        leave_reasons: LeaveReasons | None = None,
        action_cpu: ActionCpu | None = None,
        look: Callable[[], bool] = lambda: False,
        set_level: Callable[[int], None] = logs.change_level,
    ) -> None:
        self._words = words = cell.words
        self._is_cancelled = cell.is_cancelled
        self._is_taken_back = cell.is_taken_back
        self._tasks = cell.tasks
        self._results = cell.results
        self._board = memory.words_of(board_memory)
        self._worker_id = worker_id
        self._skip_news = layout.SKIP_NEWS + worker_id * layout.SKIP_NEWS_WORKER
        self._news_at = layout.news_at(slot)
        self._bell = bell
        self._results_bell = results_bell
        self._side = side
        self._actions = actions
        self._limits = limits
        self._context = context
        self._here = context.here
        self._action_cpu = nowhere(list(actions)) if action_cpu is None else action_cpu
        self._timer = timer
        self._quota = quota or Quota(0, 0)
        self._leave_reasons = leave_reasons or LeaveReasons(NoGuard())
        self._noticed = self._leave_reasons.noticed
        self._is_leaving = False
        self._notice_news = layout.NOTICE_NEWS + worker_id * layout.NOTICE_NEWS_WORKER
        self._last_action = ""  # that ran since the last look
        self._counted_action = ""  # to which `_busy_ns` grows
        self._looked_action = ""  # after which it looked last
        self._output_look_at_ns = 0
        self._is_as_before = python_state.remembered()
        self._looks = Looks()
        self._proven = self._looks.proven
        self._fresh = contextvars.copy_context  # the context of a task
        self._look_at_output = look
        self._set_level = set_level
        self._level = 0  # as it was configured
        self._fence_begin, self._fence_publish = make_fences()
        self._inline_limit = layout.largest_record(int(words[layout.RING_SIZE])) - frame.RESULT_HEADER
        self._log = logs.get_logger("arbd.worker")
        self._repeated = logs.repeated_errors()
        self._told_where = Seldom(_WHERE_EVERY_S, 4)
        self._done = 0
        self._busy_ns = 0
        self._woken_ns = 0  # when it was woken for what it has not begun yet; 0: it was awake

    @uninterruptible  # but for the author's code inside
    def run(self) -> None:
        """Serve tasks until told to leave. Where there is a reason to leave before, say so; then skip them."""
        self._quota.begin()
        self._action_cpu.begin(time.process_time_ns())
        self._fresh = self._contexts()
        self._is_as_before = python_state.remembered()
        self._publish(frame.READY, layout.READY_NEWS + self._worker_id)
        pop = self._pop_within_memory if self._quota.memory_limit else self._tasks.pop
        here = self._here
        while True:
            if not here[0]:  # what was freed after the last task forked
                end_child()
            record = pop()
            if record is not None:
                self._run_task(record)
            elif self._words[layout.CONDEMNED] == layout.LEAVE:
                break
            else:
                self._sleep()
        if not self._is_leaving:
            self.say(Leaving("told"))

    def trace(self, service: str, slot: int) -> None:
        """Set up what makes spans of tasks, before the first: nothing here (``arbd.worker.tracing``)."""

    def flush(self, until: float) -> None:
        """Send the spans that wait, until that moment of the monotonic clock: none here."""

    def _contexts(self) -> Callable[[], contextvars.Context]:
        """What makes the context (``contextvars``) of a task."""
        return task_context.of_tasks()

    def _pop_within_memory(self) -> bytes | None:
        """The next task, of a worker that has a limit of memory; one that is over it leaves before it says that it runs
        that task, so that the supervisor never ends the task for what others have taken."""
        if not self._is_leaving:
            leaving = self._quota.over_memory(self._last_action or self._looked_action)
            if leaving is not None:
                self.say(leaving)
        return self._tasks.pop()

    def say(self, said: Notice) -> None:
        """Tell the supervisor something of this worker; one that leaves begins no more."""
        self._is_leaving = self._is_leaving or isinstance(said, Leaving)
        self._publish(frame.encode_notice(notice.encode(said)), self._notice_news)
        self._notice_news += 1

    def _sleep(self) -> None:
        """Sleep until rung. The flag, the fence and the second look at the ring make it impossible to miss a task."""
        self._limits.give_back()
        self._publish_totals()
        now_ns = time.monotonic_ns()
        action = self._last_action or self._looked_action
        if self._last_action or not self._looks.is_full:
            self._look_after(action, now_ns, self._looks.due(action, now_ns))
        self._look_at_output_after(action, now_ns)
        words = self._words
        if words[layout.LOG_LEVEL] != self._level:
            self._look_at_level()
        words[layout.WORKER_SLEEPING] = 1
        self._fence_begin()
        self._fence_publish()
        if self._tasks.is_empty() and words[layout.CONDEMNED] != layout.LEAVE:
            if self._repeated.next_at == inf:
                doorbell.wait(self._bell)
            else:
                self._wait_to_tell()
            self._woken_ns = time.monotonic_ns()
        words[layout.WORKER_SLEEPING] = 0

    def _wait_to_tell(self) -> None:
        """Sleep until rung, or until it is time to tell how often an error has repeated."""
        due_in_s = max(0.0, self._repeated.next_at - time.monotonic())
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(ceil(due_in_s * 1000)):
            doorbell.wait(self._bell)
        else:
            logs.tell_repeated()

    def _run_task(self, record: bytes) -> None:
        if self._limits.changed():
            self._limits.apply(self._context)
        words = self._words
        task_frame = frame.decode_task(record)
        since_ns = time.monotonic_ns()
        words[layout.RUNNING_SINCE_NS] = since_ns
        words[layout.RUNNING_SEQ] = task_frame.seq
        self._fence_begin()
        while words[layout.CONDEMNED] == layout.STOP:
            time.sleep(_PARKED_PAUSE_S)  # the supervisor kills this process, or lifts the mark
        if self._is_leaving or (words[layout.TAKEN_BACK] and self._is_taken_back()):
            self._skip(task_frame)
            return
        action, trace = self._actions[task_frame.action], task_frame.trace
        body = task_frame.body
        if task_frame.by_reference:
            try:
                body = self._take_parcel(task_frame.timeout)
            except OSError as exc:
                self._answer_unstarted(task_frame, since_ns, action, exc)
                return
        at = task_frame.payload_length
        task = Task(task_frame.id, action, body[:at], body[at:], task_frame.attempt, traceparent=trace)
        if trace:
            task = _with_context(task)
        run_ns, status, answer = self._execute(task, task_frame.seq, task_frame.timeout, since_ns)
        self._answer(task_frame.seq, since_ns, run_ns, status, action, answer)
        if run_ns > OUTPUT_LOOK_WORTH_NS:
            self._look_at_output_after(action, since_ns + run_ns)

    def _skip(self, task_frame: frame.TaskFrame) -> None:
        """Answer a task that was taken back, because a task before it took too long. The answer matters only where the
        supervisor could not tell whether it had begun."""
        if task_frame.by_reference:
            parcels.skip(self._side)
        self._publish(frame.encode_skipped(task_frame.seq), self._skip_news + self._tasks.place)

    def _answer_unstarted(self, task: frame.TaskFrame, since_ns: int, action: str, exc: OSError) -> None:
        """Answer a task whose payload cannot be had. The next task may have a small one, so the worker goes on."""
        reason = exc.strerror or str(exc)
        fields = logs.task_fields(task.id, action, task.trace.partition(" ")[0], task.attempt)
        self._log.error("payload_not_received", **fields, reason=reason)
        answer = self._context.encode_any_size(action, worker_exhausted(action, "payload", reason))
        self._context.reason = NUMBER_OF["no_resources"]
        self._answer(task.seq, since_ns, time.monotonic_ns() - since_ns, "error", action, answer)

    def _execute(self, task: Task, seq: int, timeout: float, since_ns: int) -> tuple[int, Status, bytes]:
        """Run the task under its timer; how long it took in nanoseconds, status and response.

        A task that is late is a timeout, even if the action swallowed the exception or C code kept it from being
        raised: the caller was promised an answer within the timeout.
        """
        deadline = since_ns / 1e9 + timeout
        logs.enter_task(task.id, task.action, task.traceparent, task.attempt)
        try:
            try:
                self._timer.arm(deadline, seq)
                if self._words[layout.CANCELS] and self._is_cancelled(seq):
                    raise TaskCancelled
                status, answer = self._fresh().run(execute, self._context, task, deadline)
            finally:
                self._timer.disarm()
            run_ns = time.monotonic_ns() - since_ns
            if run_ns < timeout * 1e9:
                return run_ns, status, answer
        except TaskCancelled:
            answer = self._context.encode_any_size(task.action, cancelled(task.action))
            self._context.reason = NUMBER_OF["cancelled"]
            return time.monotonic_ns() - since_ns, "error", answer
        except TaskTimeout:
            pass
        finally:
            logs.leave_task()
        self._tell_where(seq, task.action)
        answer = self._context.timed_out(task.action, timeout)
        self._context.reason = NUMBER_OF["timeout"]
        return time.monotonic_ns() - since_ns, "error", answer

    def _tell_where(self, seq: int, action: str) -> None:
        """Tell the supervisor where the deadline has struck; of the same action not again and again."""
        lines, self._timer.struck_at = self._timer.struck_at, ()
        if lines and self._told_where.is_due(action, now := time.monotonic()):
            self._told_where.write(action, now)
            self.say(Stopped(seq, stack_lines.shortened(list(lines))))

    def _answer(self, seq: int, since_ns: int, run_ns: int, status: Status, action: str, answer: bytes) -> None:
        woke_ns = 0
        if self._woken_ns:
            woke_ns = min(since_ns - self._woken_ns, frame.LONGEST_WOKE_NS)
            self._woken_ns = 0
        self._done += 1
        if action is not self._counted_action:
            self._action_cpu.turn_to(action, self._busy_ns)
            self._counted_action = action
        self._busy_ns += run_ns
        reason = 0
        if status == "error":
            reason, self._context.reason = self._context.reason, 0
        if len(answer) <= self._inline_limit:
            self._publish(frame.encode_result(seq, run_ns, status, answer, since_ns, woke_ns, reason), seq)
        else:
            self._words[layout.RUNNING_SINCE_NS] = 0  # as in `_publish`: the side socket may be full, too
            more = (since_ns, woke_ns, reason)
            self._publish(self._by_reference(seq, run_ns, status, action, answer, more), seq)
        self._last_action = action
        if not self._is_as_before():
            self._look_after(action, time.monotonic_ns(), "full")
        elif action not in self._proven or run_ns > _LOOK_WORTH_NS or self._noticed or self._done % _LOOK_EVERY == 0:
            self._publish_totals()
            now_ns = time.monotonic_ns()
            self._look_after(action, now_ns, self._looks.due(action, now_ns))
        if self._done >= self._quota.next_at and not self._is_leaving:
            self.say(self._quota.at(self._done))

    def _look_after(self, action: str, now_ns: int, depth: Depth | None) -> None:
        """Put back what the action has changed, and leave if that cannot be."""
        if self._noticed:
            self._timer.renew()
            depth = depth or "noticed"
        leaving = None
        if depth is not None:
            leaving = self._leave_reasons.after(action, depth)
            self._looks.looked(action, depth, now_ns, found=self._leave_reasons.found)
            self._looked_action, self._last_action = action, ""
            if depth == "full":
                self._is_as_before = python_state.remembered()
        self._look_at_level()
        if leaving is not None and not self._is_leaving:
            self.say(leaving)

    def _look_at_level(self) -> None:
        """Write lines of the level that an operator has asked for."""
        level = self._words[layout.LOG_LEVEL]
        if level != self._level:
            self._level = level
            self._set_level(level)

    def _look_at_output_after(self, action: str, now_ns: int) -> None:
        """Look whether all that was printed has been read; seldom after an action that is proven, as long as it has."""
        if now_ns >= self._output_look_at_ns or action not in self._proven:
            waited = self._look_at_output()
            self._output_look_at_ns = 0 if waited else now_ns + _OUTPUT_LOOKS_APART_NS

    def _publish_totals(self) -> None:
        """Publish what was done so far."""
        words = self._words
        words[layout.TASKS_DONE] = self._done
        words[layout.BUSY_NS] = self._busy_ns
        words[layout.CPU_NS] = cpu_ns = time.process_time_ns()
        self._action_cpu.share_out(cpu_ns, self._busy_ns)
        if self._repeated.next_at != inf and time.monotonic() >= self._repeated.next_at:
            logs.tell_repeated()

    def _publish(self, record: bytes, news: int) -> None:
        """Push a record, then store ``news``, a number never used before, which tells the supervisor where to look. A
        forked child that has come so far ends here."""
        if not self._here[0]:
            end_child()
        if not self._results.push(record):
            # A supervisor that did not look for a while must not take the wait for room for a task that runs on.
            self._words[layout.RUNNING_SINCE_NS] = 0
            self._publish_totals()
            while not self._results.push(record):
                time.sleep(_RING_FULL_PAUSE_S)
        board = self._board
        board[self._news_at] = news
        self._fence_publish()
        if board[layout.SUPERVISOR_SLEEPING]:
            doorbell.ring(self._results_bell)

    def _by_reference(
        self, seq: int, run_ns: int, status: Status, action: str, answer: bytes, more: tuple[int, int, int]
    ) -> bytes:
        """Send the answer beside the ring; returns the record that announces it. ``more``: when the run began, how long
        before the worker was woken, and why it is an error."""
        try:
            self._send_parcel(answer)
        except OSError as exc:  # it can never be sent, for example under a limit of the size of files
            reason = exc.strerror or str(exc)
            self._log.error("result_not_sent", **logs.left_task_fields(action), size=len(answer), reason=reason)
            response = worker_exhausted(action, "result", reason)
            shorter, at = self._context.encode_any_size(action, response), more[:2]
            return frame.encode_result(seq, run_ns, "error", shorter, *at, NUMBER_OF["no_resources"])
        return frame.encode_result_reference(seq, run_ns, status, *more)

    def _send_parcel(self, answer: bytes) -> None:
        """Send an answer, however long that takes: a finished one is never dropped for want of a descriptor."""
        pause_s = _PARCEL_PAUSE_S
        while not parcels.send(self._side, (answer,)):
            if pause_s == _PARCEL_PAUSE_S:
                self._log.warning("result_waits", hint="no descriptor or memory is left to send it; trying again")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PARCEL_PAUSE_S)

    def _take_parcel(self, timeout: float) -> bytes:
        """Receive the next body, in time to answer its task before the deadline. Raises ``OSError`` if that fails."""
        give_up_at: float | None = None
        pause_s = _PARCEL_PAUSE_S
        while True:
            try:
                return parcels.take(self._side, _TRUSTED)
            except parcels.NotNow:
                now = time.monotonic()
                if give_up_at is None:
                    give_up_at = now + min(_PARCEL_TIMEOUT_S, timeout / 2)
                if now >= give_up_at:
                    parcels.skip(self._side)
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PARCEL_PAUSE_S)


def _with_context(task: Task) -> Task:
    """A task whose trace context came as one text, with its two parts."""
    parent, _, state = task.traceparent.partition(" ")
    return msgspec.structs.replace(task, traceparent=parent, tracestate=state) if state else task
