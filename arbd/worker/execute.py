"""Execution of one task, from bytes to bytes. No signals, rings or clock: what it needs is in ``Context``.

    task ─> limit ─> decode + validate ─> fill parameters ─> handler ─> normalise ─> encode ─> (status, JSON text)
              │            │                    │               │            │          │
              └─ limit     └─ error (shape 4)   └─ shape 4      └────────────┴──────────┴─ error with error_type

Whatever goes wrong in there is the answer to the task, never the end of the worker: a handler may raise ``SystemExit``
or ``KeyboardInterrupt``, return something that cannot be sent, or find its logger broken. One exception passes through
untouched: ``TaskTimeout``, which the worker's timer may raise at any point of what is interruptible (the author's code,
and what validates and encodes for it; not the limits' counting) and which only the worker handles.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from arbd import logs
from arbd.author.actions import Action, Actions
from arbd.author.binding import BindingContext, Call, MissingParametersError, ResourceValues
from arbd.author.provider import Provider
from arbd.errors import ProviderError, ResultError, TaskTimeout
from arbd.host.fork_mark import EVERYBODY, ForkMark
from arbd.interrupts import call, interruptible, uninterruptible
from arbd.model.encoding import Encoder, Envelope, NonFiniteForm
from arbd.model.reasons import NUMBER_OF
from arbd.model.response import (
    ProviderResponse,
    action_not_found,
    error,
    from_exception,
    invalid,
    message_of,
    normalise,
    rate_limited,
    timed_out,
    type_name,
)
from arbd.model.task import Status, Task
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.schema import Invalid, Schema
from arbd.worker import error_place
from arbd.worker.children import end_child, end_if_child
from arbd.worker.guard.imports import broken_import

RunAsync = Callable[[Awaitable[Any], float], Any]
"""Runs an awaitable to its end on the worker's event loop; the second argument is the deadline."""

Admit = Callable[[float], dict[str, Any] | None]
"""Asked before a call, with its deadline: ``None`` to go on, else the refusal."""

#: How much of a message survives when the response that carried it could not be sent.
_MESSAGE_KEPT: Final = 1000
_INVALID: Final = NUMBER_OF["invalid"]
_EXCEPTION: Final = NUMBER_OF["exception"]
_BAD_RESULT: Final = NUMBER_OF["bad_result"]

_members: Final = BaseExceptionGroup.__dict__["exceptions"].__get__

interruptible(Encoder.encode)  # what is encoded may have methods of the author's


class _Step(msgspec.Struct, frozen=True):
    """Everything that running one action needs, looked up once."""

    decode_payload: Callable[[bytes], Any]
    decode_account: Callable[[bytes], Any] | None  # None: the account is not used
    call: Call
    admit: Admit | None  # None: nothing limits it
    measure: LimitMonitor | None  # the monitor that measures calls
    action: Action


class _Steps(dict[str, _Step]):
    """The step of each action, made on first use. ``changed``: monitors in place of the actions' own. Not all at once:
    a worker with 5,000 actions would start in 500 ms instead of 10, and take 45 MB of its own."""

    def __init__(
        self,
        actions: Actions,
        binding_context: BindingContext,
        default: RateLimitMonitor | None,
        changed: Mapping[str | None, RateLimitMonitor],
        here: ForkMark,
    ) -> None:
        self._here = here
        self._actions = actions
        self._binding_context = binding_context
        self._default = changed.get(None, default)
        self._changed = changed

    def __missing__(self, name: str) -> _Step:
        action = self._actions[name]
        own = self._changed.get(name, action.rate_limit_monitor)
        step = self[name] = _step(action, self._binding_context, self._default if own is None else own, self._here)
        return step


class Context:
    """The context of :func:`execute`: the provider's actions made ready, and the encoder of their responses.

    Reads the provider's attributes now, so the settings in force must be in them already. ``utc_now`` gives aware
    datetimes; ``run_async`` is called for handlers that return an awaitable; ``resources`` are filled into handlers;
    ``max_result`` is in bytes of JSON, ``None`` for no limit; ``nan``: what becomes of NaN in a result. ``here`` is the
    mark of this process: a child that the author's code forks ends where it would come back. ``spoil`` is told what
    will fail in every later task of this process. ``reason``: the number of why the last error was one
    (``arbd.model.reasons``); whoever passes that on sets it back to 0, which is an error that the action returned.
    """

    __slots__ = (
        *("_binding_context", "_default", "_default_timeout", "actions", "encode", "encode_any_size", "here"),
        *("logger", "reason", "run_async", "spoil", "steps"),
    )

    def __init__(
        self,
        provider: Provider,
        *,
        utc_now: Callable[[], datetime],
        run_async: RunAsync,
        resources: ResourceValues | None = None,
        envelope: Envelope = "plain",
        max_result: int | None = None,
        here: ForkMark = EVERYBODY,
        nan: NonFiniteForm = "error",
        spoil: Callable[[str], object] = lambda _: None,
    ) -> None:
        name, timezone = provider.name, provider.timezone
        opened = ResourceValues() if resources is None else resources
        binding_context = BindingContext(name, timezone, provider.logger, utc_now, opened)
        self.logger = provider.logger
        self._default_timeout = provider.execution_timeout
        self.here = here
        self.reason = 0
        self.spoil = spoil
        self.run_async = run_async
        default = provider.actions.default_monitor or provider.rate_limit_monitor
        self._binding_context = binding_context
        self.actions = provider.actions
        self._default = default
        self.change_limits({})
        encoder = Encoder(
            provider=name,
            timezone=timezone,
            utc_now=utc_now,
            envelope=envelope,
            max_result=max_result,
            logger=provider.logger,
            nan=nan,
        )
        self.encode = encoder.encode
        self.encode_any_size = encoder.encode_any_size

    def timed_out(self, action: str, timeout: float) -> bytes:
        """The answer to a task of this action that ran longer than ``timeout`` seconds."""
        own_s = self.actions[action].timeout if action in self.actions else None
        response = timed_out(action, timeout, own_s=own_s, default_s=self._default_timeout)
        return self.encode_any_size(action, response)

    def change_limits(self, changed: Mapping[str | None, RateLimitMonitor]) -> None:
        """Use these monitors in place of the actions' own, by name of the action; ``None`` names the default."""
        self.steps = _Steps(self.actions, self._binding_context, self._default, changed, self.here)


@uninterruptible
def execute(context: Context, task: Task, deadline: float) -> tuple[Status, bytes]:
    """Run one task; its status and response. ``deadline``: seconds of the monotonic clock. Raises ``TaskTimeout``
    only."""
    try:
        response = _respond(context, task, deadline)
        return response.status, context.encode(task.action, response)
    except BaseException as exc:
        end_if_child(context.here, exc)
        if _is_timeout(exc):
            raise
        return "error", _encode_failure(context, task, exc)


@uninterruptible  # no deadline is raised between admission and `try`: what was counted as begun ends, too
def _respond(context: Context, task: Task, deadline: float) -> ProviderResponse:
    step = context.steps.get(task.action)
    if step is None:
        if task.action not in context.actions:
            return action_not_found(task.action, list(context.actions))
        step = context.steps[task.action]  # makes it
    if step.admit is not None:
        limits = step.admit(deadline)
        if limits and limits.get("rate_limited"):
            return rate_limited(limits)
    if step.measure is None:
        return _run(context, step, task, deadline)
    begun = step.measure.gate.begin()
    failed = True
    try:
        response = _run(context, step, task, deadline)
        failed = response.status == "error"
        return response
    finally:
        step.measure.gate.end(begun, failed=failed)


@interruptible
def _run(context: Context, step: _Step, task: Task, deadline: float) -> ProviderResponse:
    """Decode, call, normalise. A forked child ends here, before anything of arbd's is touched."""
    try:
        try:
            payload = step.decode_payload(task.payload)
        except Invalid as exc:
            return _invalid(context, "payload", exc, step.action.payload_schema)
        account = None
        if step.decode_account is not None:
            try:
                account = step.decode_account(task.account)
            except Invalid as exc:
                return _invalid(context, "account", exc, step.action.account_schema)
        try:
            value = step.call(payload, account, task, deadline)
        except MissingParametersError as exc:
            errors = [f"Missing key: {name}" for name in exc.names]
            context.reason = _INVALID
            return invalid("payload", errors, missing=exc.names, schema=step.action.payload_schema.summary)
        if hasattr(type(value), "__await__"):
            value = context.run_async(value, deadline)
        return normalise(value)
    finally:
        if not context.here[0]:
            end_child(sys.exception())


def _is_timeout(exc: BaseException) -> bool:
    """Whether this is the soft deadline, also inside an ``asyncio.TaskGroup``, which wraps exceptions. Asks the classes
    only: an author's own may have methods that fail."""
    found = [exc]
    while found:
        each = found.pop()
        if issubclass(type(each), TaskTimeout):
            return True
        if issubclass(type(each), BaseExceptionGroup):
            found += _members(each)
    return False


def _encode_failure(context: Context, task: Task, exc: BaseException) -> bytes:
    """The answer for an exception. Whatever is odd about it, there is one."""
    context.reason = _BAD_RESULT if type(exc) is ResultError else _EXCEPTION
    if broken := broken_import(exc):
        context.spoil(f"an import fails from now on in this process: {broken}")
    _log_failure(context, task, exc)
    message, name = type_name(exc), type_name(exc)
    told: Any = None
    error_at = ""
    try:
        error_at = _place_of(context, task, exc)
        response = from_exception(exc, error_at)
        message = response.message or ""
        return context.encode(task.action, response)
    except BaseException as problem:  # the failure's own data cannot be sent: the head of its message still can
        end_if_child(context.here, problem)
        if _is_timeout(problem):
            raise
        told = problem.data if type(problem) is ResultError else None
    # Without the limit: what is left is small, and a limit that is smaller still must not cost the worker.
    try:
        data = {"error_type": name, **({"error_at": error_at} if error_at else {}), **(told or {})}
        return context.encode_any_size(task.action, error(message[:_MESSAGE_KEPT], data))
    except Exception:  # the path to what cannot be sent cannot be sent itself
        return context.encode_any_size(task.action, error(message[:_MESSAGE_KEPT], {"error_type": name}))


def _place_of(context: Context, task: Task, exc: BaseException) -> str:
    """Where it was raised; empty for what was raised on purpose: its message says it all."""
    if issubclass(type(exc), ProviderError):
        return ""
    try:
        return error_place.place_of(exc, error_place.package_of(context.actions[task.action].handler))
    except Exception:  # the exception, or the state of the interpreter, is the author's to break
        return ""


def _log_failure(context: Context, task: Task, exc: BaseException) -> None:
    logger = context.logger
    try:
        if issubclass(type(exc), ProviderError):  # raised on purpose: the message says it all
            logger.warning(f"action refused the task: {type_name(exc)}: {message_of(exc)}")
        else:
            logs.report_failure(logger, exc, task.id, task.action)
    except BaseException as problem:  # the author's logger may be what is broken; the caller still gets the answer
        end_if_child(context.here, problem)
        if _is_timeout(problem):
            raise


def _step(action: Action, binding_context: BindingContext, monitor: RateLimitMonitor | None, here: ForkMark) -> _Step:
    measure = monitor if isinstance(monitor, LimitMonitor) and monitor.spec.metered else None
    handler = action.binding.prepare(binding_context)
    asks_for_account = action.checks_account or "account" in action.binding.wanted
    return _Step(
        decode_payload=action.payload_schema.decode,
        decode_account=action.account_schema.decode if asks_for_account else None,
        call=_counted(monitor, handler, here),
        admit=_admission(monitor, here),
        measure=measure,
        action=action,
    )


def _admission(monitor: RateLimitMonitor | None, here: ForkMark) -> Admit | None:
    """The function that is asked before a call. A built-in monitor counts; an author's own check comes before that."""
    if monitor is None or type(monitor) is NoRateLimitMonitor:
        return None
    if (counting := getattr(monitor, "arbd_admit", None)) is not None:  # asked in one place, where it counts
        return lambda deadline: call(counting)
    check = monitor.check_rate_limits
    if not isinstance(monitor, LimitMonitor):
        return lambda deadline: call(check)
    if type(monitor).check_rate_limits is LimitMonitor.check_rate_limits:
        return monitor.admit
    admit, check = monitor.admit, _in_parent(check, here)
    return lambda deadline: call(check) or admit(deadline)


def _in_parent(function: Callable[..., Any], here: ForkMark) -> Callable[..., Any]:
    """The author's function; a child that it forks does not come back from it."""

    def called(*args: Any) -> Any:
        try:
            return function(*args)
        finally:
            if not here[0]:
                end_child(sys.exception())

    return called


def _counted(monitor: RateLimitMonitor | None, handler: Call, here: ForkMark) -> Call:
    """The handler, called through an author's own ``make_safe_request`` if there is one, which counts calls."""
    if monitor is None or isinstance(monitor, (LimitMonitor, NoRateLimitMonitor)):
        return handler
    request = getattr(monitor, "make_safe_request", None)
    if (
        request is None
        or hasattr(monitor, "arbd_admit")
        or getattr(type(monitor), "make_safe_request", None) is RateLimitMonitor.make_safe_request
    ):
        return handler
    in_parent = _in_parent(handler, here)  # ``request`` may count after it
    return lambda payload, account, task, deadline: request(in_parent, payload, account, task, deadline)


def _invalid(
    context: Context, subject: Literal["payload", "account"], found: Invalid, schema: Schema
) -> ProviderResponse:
    context.reason = _INVALID
    return invalid(subject, found.texts, missing=found.missing_params, schema=schema.summary)
