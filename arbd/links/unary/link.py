"""The hub link over the unary Hub protocol: many ``GetTask`` calls out, results sent beside them.

Not a policy: what a status means is ``policy``, how often to call is ``pace``, how messages look is ``messages``.

    parked pollers ──_release_polls──> GetTask ──> port.take             released while window, pause, token gate
         ^                               │                               and free_slots() allow one more call
         └───────────────────────────────┘ every answer counts, then asks again
    parked submitters ─_release_submits─> SubmitTaskResult ─> outbox.ack  released while there is something to send

What can wait a millisecond waits for the *tick*: the next polls always, and new tasks while the hub is busy with
results, so that one wake-up of a worker serves several. A single task waits for nothing.

Invariants:

* polls under way and tasks not yet handed over never exceed ``port.free_slots()`` when a poll starts;
* no call is ever cancelled, nor wrapped in ``wait_for``: a poll's answer may carry a task, and both leak memory in
  grpc. Each call has its own deadline instead, so every wait here ends;
* an outcome leaves the outbox only when the hub took it, or said that it never will (``Disposition.DROP``);
* whatever raises, a call that was counted stops being counted, and exactly one thing becomes of a result; what nobody
  expected goes to the loop's exception handler (``arbd.supervised``), and the others go on meanwhile;
* what is sent for a task is its own outcome or a smaller form of it, never anything of another task;
* submits never wait for polls, and the coroutines live as long as the link: no task is made for a call.

How a stop stays short: nothing can end a poll that a hub holds. So each poll asks, in metadata, to be held at most
``ask_hold_s``; the embedded hub does so. With a hub that does not know the key a stop takes as long as it holds a
poll, at most ``long_poll_s + poll_margin_s``. Running tasks drain meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from arbd.core.backoff import Backoff
from arbd.core.doze import BUSY_RESULTS, TICK_S
from arbd.links.base import HubPort
from arbd.links.ending import end, until_empty
from arbd.links.options import LinkOptions
from arbd.links.pace import Pace, TokenGate
from arbd.links.unary.connection import Connection
from arbd.links.unary.messages import Form, decode_task, encode_request, encode_result
from arbd.links.unary.policy import Disposition, Method, disposition
from arbd.links.unary.sending import Delivery, SendQueue
from arbd.model.link_stats import LinkStats
from arbd.model.task import Outcome, Task
from arbd.supervised import is_being_cancelled, report, supervised
from arbd.wire.grpc_channel import parse_url

_ERROR_MIN_S: Final = 0.05
_ERROR_MAX_S: Final = 2.0
_ASIDE_MIN_S: Final = 1.0
_ASIDE_MAX_S: Final = 60.0
_AGAIN_S: Final = 1.0  # when it is looked again after what nobody expected
_GONE: Final = (Disposition.ACCEPTED, Disposition.DROP, Disposition.TOO_LARGE)  # the last one has no smaller form then
_MAY_BE_LOCAL: Final = frozenset({"UNAVAILABLE", "CANCELLED"})  # gRPC gives these without having heard the hub
_DETAILS_MAX: Final = 200  # characters of a hub's own words that go to the log
# What a call ends by without anybody's bug: a status; no descriptor, no memory for it; an answer that is no message.
_ORDINARY: Final = (grpc.aio.AioRpcError, OSError, DecodeError)


class _Sent(NamedTuple):
    """A delivery, and its call."""

    delivery: Delivery
    call: Awaitable[bytes]
    started_at: float


class GrpcUnaryLink:
    """A ``HubLink`` over grpc.aio. Counters and the state of the connection are in ``stats``.

    ``gate``: one in which others have a say. Raises ``ConfigError`` for a URL that cannot be used. The answer to a
    result is not looked at: some hubs echo the task in it.
    """

    def __init__(self, options: LinkOptions, *, logger: Any = None, gate: TokenGate | None = None) -> None:
        self.stats = LinkStats(protocol="unary")
        self.sends_one_by_one = True
        self._options = options
        self._target = parse_url(options.url, options.tls)
        self._log = logger if logger is not None else structlog.get_logger("arbd.hub")
        self._request = encode_request(options.provider, options.token)
        self._poll_timeout_s = options.long_poll_s + options.poll_margin_s
        self._metadata = grpc.aio.Metadata(("arbd-long-poll-ms", str(int(options.ask_hold_s * 1000))))
        idle = Backoff(options.idle_min_s, options.idle_max_s)
        self._polls = Pace(limit=options.max_polls, window=1, idle=idle, error=_error_backoff())
        submits = options.max_submits
        self._submits = Pace(limit=submits, window=submits, idle=_error_backoff(), error=_error_backoff())
        self._gate = gate or TokenGate(options.refused_interval_s)
        # Last in, first out: the coroutine that just finished a call, and is warm, gets the next one.
        self._parked_pollers: list[asyncio.Future[None]] = []
        self._parked_submitters: list[asyncio.Future[_Sent]] = []
        self._arrived: list[Task] = []  # not yet handed over
        self._tick_is_due = False
        self._poll_timer: asyncio.TimerHandle | None = None
        self._submit_timer: asyncio.TimerHandle | None = None
        self._crew: list[asyncio.Task[None]] = []
        self._stopping = False
        self._closing = False
        self._poll_ended = asyncio.Event()
        self._outbox_empty = asyncio.Event()

    # -- the HubLink interface -------------------------------------------------------------------------------

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._queue = SendQueue(port.outbox, lambda: Backoff(_ASIDE_MIN_S, _ASIDE_MAX_S))
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(
            self._target,
            self._options.tls_options,
            max_receive=self._options.max_receive,
            longest_call_s=max(self._poll_timeout_s, self._options.submit_timeout_s),
        )
        self._crew = [supervised(self._poller(), "polls of the hub") for _ in range(self._options.max_polls)]
        self._crew += [supervised(self._submitter(), "results to the hub") for _ in range(self._options.max_submits)]

    def slots_changed(self) -> None:
        self._tick_soon()

    def results_ready(self) -> None:
        self._release_submits()

    async def stop_taking(self) -> None:
        # A caller may put a limit on this wait: it is an event that is given up then, and no call is cancelled.
        self._stopping = True
        while self._polls.under_way and not self._closing:
            self._poll_ended.clear()
            await self._poll_ended.wait()
        self._hand_over()

    async def flush(self, timeout: float) -> bool:
        self._hand_over()  # what cannot be begun any more gets its result, too
        self._queue.expedite()
        self._release_submits()
        return await until_empty(self._port.outbox, self._outbox_empty, timeout)

    async def close(self) -> None:
        self._stopping = self._closing = True
        self._hand_over()
        for timer in (self._poll_timer, self._submit_timer):
            if timer is not None:
                timer.cancel()
        self._poll_ended.set()
        await self._connection.close()  # ends what is still under way: stop_taking and flush had their time
        await end(self._crew)
        self._parked_pollers.clear()
        self._parked_submitters.clear()
        self._put_all_back()

    # -- what an answer says about the hub -------------------------------------------------------------------

    def _answered(self, started_at: float, now: float) -> None:
        """The hub did what it was asked for."""
        self._connection.heard(now)
        self._gate.passed(started_at)
        if not self._gate.closed and self.stats.changed_to("up"):
            self._log.info("hub_connected", hub=self._target.address)

    def _troubled(self, outcome: Disposition, code: str, details: str) -> None:
        if not self.stats.changed_to("refused" if outcome is Disposition.REFUSED else "down"):
            return
        words = {"hub": self._target.address, "code": code, "details": self._clean(details)}
        if outcome is Disposition.REFUSED:
            self._log.error("hub_refuses_token", retry_every_s=self._options.refused_interval_s, **words)
        else:
            self._log.warning("hub_unavailable", **words)

    def _clean(self, details: str) -> str:
        """A hub's own words, fit for the log: some hubs quote the request, and the token is in it."""
        token = self._options.token
        return (details.replace(token, "***") if token else details)[:_DETAILS_MAX]

    def _failed(self, method: Method, pace: Pace, error: BaseException, started_at: float) -> Disposition:
        """Count a failed call, and say what follows from it."""
        now = _now()
        code, details = _status(error)
        result = disposition(method, code, details)
        if result is not Disposition.EMPTY:
            self.stats.failures[f"{method.value} {code}"] += 1
        if code == "DEADLINE_EXCEEDED":
            self.stats.reconnects += self._connection.replace_if_silent(started_at, now)
        elif code not in _MAY_BE_LOCAL:
            self._connection.heard(now)
        if result is Disposition.EMPTY:
            pace.empty(started_at, now)
            self._answered(started_at, now)
        elif result in (Disposition.ACCEPTED, Disposition.DROP):
            pace.productive()
            self._answered(started_at, now)
        elif result is not Disposition.TOO_LARGE:  # which says nothing about the hub
            pace.failed(started_at, now)
            if result is Disposition.REFUSED:
                self._gate.refused(now)
            self._troubled(result, code, details)
        return result

    # -- the tick --------------------------------------------------------------------------------------------

    def _tick_soon(self) -> None:
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
        self._hand_over()
        self._release_polls()

    def _hand_over(self) -> None:
        if self._arrived:
            tasks, self._arrived = self._arrived, []
            try:
                self._port.take(tasks)
            except Exception as error:  # polls and results go on
                report(error, "tasks from the hub")

    # -- polls -----------------------------------------------------------------------------------------------

    def _release_polls(self) -> None:
        """Let parked pollers go, as many as may start now; a timer for the next, if time is all it takes."""
        at = math.inf
        try:
            while self._parked_pollers and not self._stopping:
                if self._polls.under_way + len(self._arrived) >= self._port.free_slots():
                    return
                now = _now()
                at = max(self._polls.start_at(now), self._gate.start_at(now))
                if at > now:
                    break
                self._polls.started()
                self._gate.started(now)
                self._parked_pollers.pop().set_result(None)
            else:
                return
        except Exception as error:
            report(error, "polls of the hub")
            at = _now() + _AGAIN_S
        self._poll_timer = self._timer(self._poll_timer, at, self._release_polls)

    async def _poller(self) -> None:
        while not self._closing:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._parked_pollers.append(turn)
            self._tick_soon()
            await turn
            await self._poll()

    async def _poll(self) -> None:
        """One call. It was counted when its turn came, and stops being counted here, whatever happens."""
        started_at = _now()
        try:
            if self._closing:
                return  # since its turn came
            self.stats.polls += 1
            try:
                data = await self._connection.get_task(
                    self._request, timeout=self._poll_timeout_s, metadata=self._metadata
                )
                task = decode_task(data)
            except _ORDINARY as error:
                self._failed(Method.GET_TASK, self._polls, error, started_at)
            else:
                self._polled(task, started_at, _now())
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            if not self._closing:  # its channel was closed
                self._failed(Method.GET_TASK, self._polls, error, started_at)
        except Exception as error:
            self._polls.failed(started_at, _now())
            report(error, "a poll of the hub")
        finally:
            self._polls.ended()
            self._poll_ended.set()

    def _polled(self, task: Task | None, started_at: float, now: float) -> None:
        if task is not None:
            self._take(task)  # before the books are kept: a worker can wake up meanwhile
            self._polls.productive()
        else:
            self.stats.empty += 1
            self._polls.empty(started_at, now)
        self._answered(started_at, now)

    def _take(self, task: Task) -> None:
        self.stats.tasks += 1
        if self._submits.under_way < BUSY_RESULTS and not self._arrived:
            self._port.take((task,))
        else:
            # Measured on two cores from a full hub: 0.90 of the bare loop instead of 0.82.
            self._arrived.append(task)
            self._tick_soon()

    # -- results ---------------------------------------------------------------------------------------------

    def _release_submits(self) -> None:
        """Send what may be sent now; a parked submitter sees to the rest of each.

        While few are under way, the next waits for a turn of the loop: a call goes out at the end of the turn, and to
        make one takes 50 µs. A busy hub is better off with many at once.
        """
        try:
            while self._parked_submitters and not self._closing:
                now = _now()
                at = max(self._submits.start_at(now), self._gate.start_at(now))
                if at <= now:
                    delivery = self._queue.take(now)
                    if delivery is not None:
                        self._submits.started()
                        self._gate.started(now)
                        self._parked_submitters.pop().set_result(self._send(delivery, now))
                        if self._submits.under_way >= BUSY_RESULTS:
                            continue
                        self._loop.call_soon(self._release_submits)
                        return
                    at = self._queue.due_at()
                self._submit_timer = self._timer(self._submit_timer, at, self._release_submits)
                return
        except Exception as error:
            report(error, "results to the hub")
            self._submit_timer = self._timer(self._submit_timer, _now() + _AGAIN_S, self._release_submits)

    def _send(self, delivery: Delivery, now: float) -> _Sent:
        """Start the call for one result: here, and not in the submitter's turn, which comes later."""
        self.stats.submits += 1
        call: Awaitable[bytes]
        try:
            data, delivery.form = encode_result(delivery.outcome, self._options, delivery.form)
            call = self._connection.submit(data, timeout=self._options.submit_timeout_s)
        except Exception as error:  # what cannot be sent fails as a call does
            call = self._loop.create_future()
            call.set_exception(error)
        return _Sent(delivery, call, now)

    async def _submitter(self) -> None:
        while not self._closing:
            turn: asyncio.Future[_Sent] = self._loop.create_future()
            self._parked_submitters.append(turn)
            self._release_submits()
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
            except _ORDINARY as error:
                result = self._failed(Method.SUBMIT, self._submits, error, started_at)
                self._settle(delivery, result, error)
            else:
                result = Disposition.ACCEPTED
                self._answered(started_at, _now())
                self._submits.productive()
                self._settle(delivery, result)
        except asyncio.CancelledError:
            self._put_back(delivery)
            if is_being_cancelled():
                raise
            return  # its channel was closed
        except Exception as error:
            # Aside, where it waits as long as one that the hub chokes on: it may be this result that the bug is about.
            self._queue.defer(delivery, _now())
            self._submits.failed(started_at, _now())
            report(error, "a result for the hub")
            return
        finally:
            self._submits.ended()
        if not len(self._port.outbox):
            self._outbox_empty.set()
        if result in _GONE and not self._polls.under_way:
            self._release_polls()  # a full outbox may have kept them back, and nothing else would let them go

    def _settle(self, delivery: Delivery, result: Disposition, error: Exception | None = None) -> None:
        outbox, outcome = self._port.outbox, delivery.outcome
        if result is Disposition.TOO_LARGE and self._queue.shrink(delivery, _now()):
            self.stats.retried += 1
        elif result is Disposition.DEFER:
            self.stats.retried += 1
            self._queue.defer(delivery, _now())
        elif result in (Disposition.RETRY, Disposition.REFUSED):
            self.stats.retried += 1
            outbox.put_back(outcome)
        elif result is Disposition.ACCEPTED:
            outbox.ack(outcome)
            self.stats.accepted += 1
            self.stats.shortened += delivery.form is not Form.FULL
        else:
            self._dropped(outcome, error)
            outbox.ack(outcome)

    def _put_back(self, delivery: Delivery) -> None:
        try:
            self._port.outbox.put_back(delivery.outcome)
        except Exception as error:
            self._queue.defer(delivery, _now())
            report(error, "a result put back")

    def _put_all_back(self) -> None:
        for _ in range(2):
            try:
                self._queue.put_all_back()
                return
            except Exception as error:
                report(error, "results put back")

    def _dropped(self, outcome: Outcome, error: Exception | None) -> None:
        self.stats.dropped += 1
        code, details = _status(error)
        words = {"task_id": outcome.task.id, "action": outcome.task.action, "status": outcome.status}
        self._log.error("result_refused_for_good", code=code, details=self._clean(details), **words)

    # -- timers ----------------------------------------------------------------------------------------------

    def _timer(
        self, old: asyncio.TimerHandle | None, at: float, callback: Callable[[], None]
    ) -> asyncio.TimerHandle | None:
        """Have ``callback`` called at ``at``, and not at the time set before; infinity: some event will do it."""
        if old is not None:
            old.cancel()
        # One millisecond more: uvloop rounds, and a timer that fires early would spin until its time has come.
        return None if at == math.inf else self._loop.call_later(at - _now() + 0.001, callback)


_now = time.monotonic  # not loop.time(): uvloop's has whole milliseconds


def _status(error: BaseException | None) -> tuple[str, str]:
    """Status name and details of a failed call."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name, error.details() or ""
    if isinstance(error, OSError):
        return "UNAVAILABLE", str(error)  # nothing left to make the call with
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED", "its channel was closed"
    return "INTERNAL", f"{type(error).__name__}: {error}"  # an answer that is no message


def _error_backoff() -> Backoff:
    return Backoff(_ERROR_MIN_S, _ERROR_MAX_S)
