"""The ``GetTask`` calls of a unary link, and the tasks that they bring.

    parked pollers ──release───> GetTask ──> port.take       released while window, pause, token gate
         ^                          │                        and free_slots() allow one more call
         └──────────────────────────┘ every answer counts, then asks again

What can wait a millisecond waits for the *tick*: the next polls always, and new tasks while the hub is busy with
results, so that one wake-up of a worker serves several. A single task waits for nothing.

Invariants:

* polls under way and tasks not yet handed over never exceed ``port.free_slots()`` when a poll starts;
* no poll is ever cancelled, nor wrapped in ``wait_for``: its answer may carry a task, and both leak memory in grpc.
  Each has its own deadline instead, so every wait here ends. Only at a hub that leaves a probe unanswered (``probes``)
  they end sooner, with their connection;
* whatever raises, a poll that was counted stops being counted.

How a stop stays short: nothing can end a poll that a live hub holds. So each poll asks, in metadata, to be held at most
``ask_hold_s``; the embedded hub does so. With a hub that does not know the key a stop takes as long as it holds a
poll, at most ``long_poll_s + poll_margin_s``. Running tasks drain meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

import grpc.aio
import msgspec

from arbd.core.doze import BUSY_RESULTS, TICK_S
from arbd.core.progress import Unmoved
from arbd.links.alarm import Alarm
from arbd.links.base import OVERDUE_S, HubPort
from arbd.links.options import LinkOptions
from arbd.links.unary.calls import ORDINARY, CallState
from arbd.links.unary.messages import decode_task, encode_request
from arbd.links.unary.policy import Method
from arbd.model.task import Task
from arbd.supervised import is_being_cancelled, report, supervised
from arbd.wire.call_metadata import LEASE_KEY, LONG_POLL_KEY, TELL_LEASE_KEY, milliseconds, seconds_of, trace_of

_ASKS: Final = 64  # for the hub's lease; another hub does not tell it
_AGAIN_S: Final = 1.0  # when it is looked again after what nobody expected


class Polls:
    """The polls of a link, which begin as soon as this is made."""

    def __init__(self, calls: CallState, port: HubPort) -> None:
        options = calls.options
        self._calls = calls
        self._port = port
        self._stats = calls.stats
        self._pace = calls.polls
        self._gate = calls.gate
        self._submits = calls.submits
        self._request = encode_request(options.provider, options.token)
        hold = (LONG_POLL_KEY, milliseconds(options.ask_hold_s))
        self._metadata = grpc.aio.Metadata(hold)
        self._asking_metadata = grpc.aio.Metadata(hold, (TELL_LEASE_KEY, "1"))
        self._reads_trace = options.reads_trace
        self._asks_left = _ASKS  # for the hub's lease
        # Last in, first out: the coroutine that just finished a call, and is warm, gets the next one.
        self._parked: list[asyncio.Future[None]] = []
        self._arrived: list[Task] = []  # not yet handed over
        self._tick_is_due = False
        self._alarm = Alarm(self.release)
        self._has_ended = asyncio.Event()  # a poll
        self._answers = Unmoved()
        self._starts = Unmoved()
        self._stopping = False
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self.crew = [supervised(self._poller(), "polls of the hub") for _ in range(options.max_polls)]

    def renew(self, options: LinkOptions) -> None:
        """Name the token of these options from the next poll on, and poll at once, if that is due."""
        self._request = encode_request(options.provider, options.token)
        self._alarm.set(_now())

    async def stop(self) -> None:
        """Start no more, and return when every poll under way has been answered, or when they go on."""
        # A caller may put a limit on this wait: it is an event that is given up then, and no call is cancelled.
        self._stopping = True
        while self._stopping and self._pace.under_way and not self._closing:
            self._has_ended.clear()
            await self._has_ended.wait()
        self.hand_over()

    def go_on(self) -> None:
        """Start polls again after a stop, or in the middle of one."""
        if not self._closing:
            self._stopping = False
            self._has_ended.set()
            self.tick_soon()

    def close(self) -> None:
        """Start no more, and wait for none."""
        self._stopping = self._closing = True
        self.hand_over()
        self._alarm.cancel()
        self._has_ended.set()

    def overdue(self, now: float) -> str:
        """What does not go on by itself, in words: the end of a coroutine, of a call, of a pause."""
        if self._closing:
            return ""
        under_way, answered = self._pace.under_way, self._stats.polls - self._pace.under_way
        if any(task.done() for task in self.crew):
            return "a coroutine that polls the hub has ended"
        if self._answers.look(now, under_way > 0, answered) > self._calls.poll_timeout_s + OVERDUE_S:
            return "polls are past their deadlines"
        starts = self._starts.look(now, self._may_start(now), self._stats.polls)
        return "polls could start, and do not" if starts > 0 else ""

    def _may_start(self, now: float) -> bool:
        """Whether nothing keeps a poll from being made, and none is under way."""
        if self._stopping or not self._parked or self._pace.under_way or self._port.free_slots() <= 0:
            return False
        return max(self._pace.start_at(now), self._gate.start_at(now)) <= now

    # -- the tick --------------------------------------------------------------------------------------------

    def tick_soon(self) -> None:
        """Have the next tick come within a millisecond.

        A call takes 100 µs of CPU, so the next polls must not come before a worker that was just woken on this CPU,
        nor before the result that has just arrived. Measured on two cores with tasks one at a time (medians): from
        the ring to the start on the same CPU 34 µs instead of 160, from the doorbell to the hub 30 to 90 µs less.
        """
        if not self._tick_is_due:
            self._tick_is_due = True
            self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._tick_is_due = False
        self.hand_over()
        self.release()

    def hand_over(self) -> None:
        """Give the port the tasks that have arrived."""
        if self._arrived:
            tasks, self._arrived = self._arrived, []
            try:
                self._port.take(tasks)
            except Exception as error:  # polls and results go on
                report(error, "tasks from the hub")

    # -- calls -----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Let parked pollers go, as many as may start now; an alarm for the next, if time is all it takes."""
        at = math.inf
        try:
            while self._parked and not self._stopping:
                if self._pace.under_way + len(self._arrived) >= self._port.free_slots():
                    return
                now = _now()
                at = max(self._pace.start_at(now), self._gate.start_at(now))
                if at > now:
                    break
                self._pace.started()
                self._gate.started(now)
                self._parked.pop().set_result(None)
            else:
                return
        except Exception as error:
            report(error, "polls of the hub")
            at = _now() + _AGAIN_S
        self._alarm.set(at)

    async def _poller(self) -> None:
        while not self._closing:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._parked.append(turn)
            self.tick_soon()
            await turn
            await self._poll()

    async def _poll(self) -> None:
        """Make one call. It was counted when its turn came, and stops being counted here, whatever happens."""
        started_at = _now()
        try:
            if self._closing:
                return  # since its turn came
            self._stats.polls += 1
            try:
                asks = self._asks_left > 0
                metadata = self._asking_metadata if asks else self._metadata
                call = self._calls.connection.get_task(
                    self._request, timeout=self._calls.poll_timeout_s, metadata=metadata
                )
                task = decode_task(await call)
                if task is not None and self._reads_trace:
                    task = await _with_trace(task, call)
            except ORDINARY as error:
                self._calls.failed(Method.GET_TASK, self._pace, error, started_at)
            else:
                self._polled(task, started_at, _now())
                if asks:
                    await self._hear_lease(call)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            if not self._closing:  # its channel was closed
                self._calls.failed(Method.GET_TASK, self._pace, error, started_at)
        except Exception as error:
            self._pace.failed(started_at, _now())
            report(error, "a poll of the hub")
        finally:
            self._pace.ended()
            self._has_ended.set()

    async def _hear_lease(self, call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> None:
        """Take note of the hub's lease, if this answer tells it; once."""
        lease_s = seconds_of(await call.initial_metadata(), LEASE_KEY)
        if lease_s and self._asks_left:
            self._asks_left = 0
            self._port.note_lease(lease_s)
        self._asks_left = max(0, self._asks_left - 1)

    def _polled(self, task: Task | None, started_at: float, now: float) -> None:
        if task is not None:
            self._take(task)  # before the books are kept: a worker can wake up meanwhile
            self._pace.productive()
        else:
            self._stats.empty += 1
            self._pace.empty(started_at, now)
        self._calls.answered(started_at, now)

    def _take(self, task: Task) -> None:
        self._stats.tasks += 1
        if self._submits.under_way < BUSY_RESULTS and not self._arrived:
            self._port.take((task,))
        else:
            # Measured on two cores from a full hub: 0.90 of the bare loop instead of 0.82.
            self._arrived.append(task)
            self.tick_soon()


async def _with_trace(task: Task, call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> Task:
    """A task with the trace context that its answer's metadata has: before it or after it."""
    for metadata in (await call.trailing_metadata(), await call.initial_metadata()):
        parent, state = trace_of(metadata)
        if parent:
            return msgspec.structs.replace(task, traceparent=parent, tracestate=state)
    return task


_now = time.monotonic  # not loop.time(): uvloop's has whole milliseconds
