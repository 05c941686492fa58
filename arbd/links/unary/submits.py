"""The ``SubmitTaskResult`` calls of a unary link, and what becomes of the results in them.

    parked submitters ─release─> SubmitTaskResult ─> outbox.ack     released while there is something to send

Invariants:

* an outcome leaves the outbox only when the hub took it, or said that it never will (``Disposition.DROP``);
* whatever raises, a call that was counted stops being counted, and exactly one thing becomes of a result; what nobody
  expected goes to the loop's exception handler (``arbd.supervised``), and the others go on meanwhile;
* what is sent for a task is its own outcome or a smaller form of it, never anything of another task;
* submits never wait for polls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from arbd.core.backoff import Backoff
from arbd.core.doze import BUSY_RESULTS
from arbd.core.progress import Unmoved
from arbd.links.alarm import Alarm
from arbd.links.base import OVERDUE_S, HubPort
from arbd.links.ending import until_empty
from arbd.links.unary.calls import ORDINARY, CallState, status
from arbd.links.unary.messages import Form, encode_result
from arbd.links.unary.policy import Disposition, Method
from arbd.links.unary.sending import Delivery, SendQueue
from arbd.model.task import Outcome
from arbd.supervised import is_being_cancelled, report, supervised

_ASIDE_MIN_S: Final = 1.0
_ASIDE_MAX_S: Final = 60.0
_AGAIN_S: Final = 1.0  # when it is looked again after what nobody expected
_GONE: Final = (Disposition.ACCEPTED, Disposition.DROP, Disposition.TOO_LARGE)  # the last one has no smaller form then


class _Sent(NamedTuple):
    """A delivery, and its call."""

    delivery: Delivery
    call: Awaitable[bytes]
    started_at: float


class Submits:
    """The submits of a link. ``release_polls`` is called where a full outbox may have kept them back.

    The answer to a result is not looked at: some hubs echo the task in it.
    """

    def __init__(self, calls: CallState, port: HubPort, release_polls: Callable[[], None]) -> None:
        self._calls = calls
        self._outbox = port.outbox
        self._stats = calls.stats
        self._release_polls = release_polls
        self._gate = calls.gate
        self._pace = calls.submits
        self._queue = SendQueue(port.outbox, lambda: Backoff(_ASIDE_MIN_S, _ASIDE_MAX_S))
        # Last in, first out, as with polls.
        self._parked: list[asyncio.Future[_Sent]] = []
        self._alarm = Alarm(self.release)
        self._is_empty = asyncio.Event()  # the outbox
        self._closing = False
        self._answers = Unmoved()
        self._loop = asyncio.get_running_loop()
        self.crew = [supervised(self._submitter(), "results to the hub") for _ in range(calls.options.max_submits)]

    async def flush(self, timeout: float) -> bool:
        """Send at once what was put aside, and wait until the outbox is empty; whether it is."""
        self._queue.expedite()
        self.release()
        return await until_empty(self._outbox, self._is_empty, timeout)

    def close(self) -> None:
        """Send no more."""
        self._closing = True
        self._alarm.cancel()

    def put_all_back(self) -> None:
        """Return what was put aside to the outbox; after the end of the crew."""
        for _ in range(2):
            try:
                self._queue.put_all_back()
                return
            except Exception as error:
                report(error, "results put back")

    def overdue(self, now: float) -> str:
        """What does not go on by itself, in words: the end of a coroutine, or of a call."""
        if self._closing:
            return ""
        if any(task.done() for task in self.crew):
            return "a coroutine that sends results has ended"
        under_way, answered = self._pace.under_way, self._stats.submits - self._pace.under_way
        unanswered_s = self._answers.look(now, under_way > 0, answered)
        is_late = unanswered_s > self._calls.options.submit_timeout_s + OVERDUE_S
        return "results are past the deadlines of their calls" if is_late else ""

    def may_send(self, now: float) -> bool:
        """Whether a result that waits could go out at once."""
        if self._closing or not self._parked:
            return False
        return max(self._pace.start_at(now), self._gate.start_at(now)) <= now

    # -- calls -----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Send what may be sent now; a parked submitter sees to the rest of each.

        While few are under way, the next waits for a turn of the loop: a call goes out at the end of the turn, and to
        make one takes 50 µs. A busy hub is better off with many at once.
        """
        try:
            while self._parked and not self._closing:
                now = _now()
                at = max(self._pace.start_at(now), self._gate.start_at(now))
                if at <= now:
                    delivery = self._queue.take(now)
                    if delivery is not None:
                        self._pace.started()
                        self._gate.started(now)
                        self._parked.pop().set_result(self._send(delivery, now))
                        if self._pace.under_way >= BUSY_RESULTS:
                            continue
                        self._loop.call_soon(self.release)
                        return
                    at = self._queue.due_at()
                self._alarm.set(at)
                return
        except Exception as error:
            report(error, "results to the hub")
            self._alarm.set(_now() + _AGAIN_S)

    def _send(self, delivery: Delivery, now: float) -> _Sent:
        """Start the call for one result: here, and not in the submitter's turn, which comes later."""
        self._stats.submits += 1
        options = self._calls.options
        call: Awaitable[bytes]
        try:
            data, delivery.form = encode_result(delivery.outcome, options, delivery.form)
            call = self._calls.connection.submit(data, timeout=options.submit_timeout_s)
        except Exception as error:  # what cannot be sent fails as a call does
            call = self._loop.create_future()
            call.set_exception(error)
        return _Sent(delivery, call, now)

    async def _submitter(self) -> None:
        while not self._closing:
            turn: asyncio.Future[_Sent] = self._loop.create_future()
            self._parked.append(turn)
            self.release()
            try:
                sent = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # given a delivery, and cancelled before it could run
                    self._put_back(turn.result().delivery)
                raise
            try:
                await self._deliver(*sent)
            except Exception as error:  # the result is settled; what came after was not
                report(error, "the answer to a result")

    async def _deliver(self, delivery: Delivery, call: Awaitable[bytes], started_at: float) -> None:
        """Wait for one call, then settle what becomes of its result: exactly one thing, whatever raises."""
        try:
            try:
                await call
            except ORDINARY as error:
                result = self._calls.failed(Method.SUBMIT, self._pace, error, started_at)
                self._settle(delivery, result, error)
            else:
                result = Disposition.ACCEPTED
                self._calls.answered(started_at, _now())
                self._pace.productive()
                self._settle(delivery, result)
        except asyncio.CancelledError:
            self._put_back(delivery)
            if is_being_cancelled():
                raise
            return  # its channel was closed
        except Exception as error:
            # Aside, where it waits as long as one that the hub chokes on: it may be this result that the bug is about.
            self._queue.defer(delivery, _now())
            self._pace.failed(started_at, _now())
            report(error, "a result for the hub")
            return
        finally:
            self._pace.ended()
        if not len(self._outbox):
            self._is_empty.set()
        if result in _GONE and not self._calls.polls.under_way:
            self._release_polls()  # nothing else would let them go

    # -- what becomes of a result ----------------------------------------------------------------------------

    def _settle(self, delivery: Delivery, result: Disposition, error: Exception | None = None) -> None:
        outcome = delivery.outcome
        if result is Disposition.TOO_LARGE and self._queue.shrink(delivery, _now()):
            self._stats.retried += 1
        elif result is Disposition.DEFER:
            self._stats.retried += 1
            self._queue.defer(delivery, _now())
        elif result in (Disposition.RETRY, Disposition.REFUSED):
            self._stats.retried += 1
            self._outbox.put_back(outcome)
        elif result is Disposition.ACCEPTED:
            self._outbox.ack(outcome, _now())
            self._stats.accepted += 1
            self._stats.shortened += delivery.form is not Form.FULL
        else:
            self._dropped(outcome, error)
            self._outbox.ack(outcome, _now())

    def _put_back(self, delivery: Delivery) -> None:
        try:
            self._outbox.put_back(delivery.outcome)
        except Exception as error:
            self._queue.defer(delivery, _now())
            report(error, "a result put back")

    def _dropped(self, outcome: Outcome, error: Exception | None) -> None:
        self._stats.dropped += 1
        code, details = status(error)
        condition, task = self._calls.condition, outcome.task
        words = {"task_id": task.id, "action": task.action, "status": outcome.status}
        condition.log.error("result_refused_for_good", code=code, details=condition.clean(details), **words)


_now = time.monotonic  # not loop.time(): uvloop's has whole milliseconds
