"""Responses to tasks, ``{"status", "message", "data"}``: a builder for every shape.

    1 success()      2 error()            3, 8, 9, 10 limited(), rate_limited()   4 invalid()
    5 authentication_failed()             6 connection_failed()                   7 action_not_found()
    verdicts of the supervisor: timed_out(), worker_lost(), aborted(), payload_too_large()
    of a worker without descriptors or memory: worker_exhausted()

``message`` and ``data`` are absent from the JSON text when they are ``None``. How a response becomes JSON is
``arbd.model.encoding``.

What a handler returns becomes a response by ``normalise``; nothing it returned gets lost on the way:

    None                                  success without data
    ProviderResponse                      itself
    dict, status success | error | limit  that response; keys beside status, message and data go into data
    any other dict, any other value       success with that data
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from arbd.errors import ProviderError, ResultError, TaskTimeout
from arbd.model.task import STATUSES, Status

_PLAIN: Final = frozenset((type(None), str, bool, int, float, list))
_RESPONSE_KEYS: Final = frozenset(("status", "message", "data"))
#: Told to callers when a monitor refuses without naming a time, or names one that is not positive.
_DEFAULT_WAIT_S: Final = 1.0
_SHORTEST_WAIT_S: Final = 0.001
_NAME_OF_CLASS: Final = type.__dict__["__name__"].__get__


class ProviderResponse(msgspec.Struct, omit_defaults=True):
    """A response to a task. ``status`` is ``success``, ``error`` or ``limit``."""

    status: Status
    message: str | None = None
    data: Any = None


def normalise(value: Any) -> ProviderResponse:
    """The response for a handler's return value, by the table above.

    To send data that has a ``status`` key of its own with one of the three words, return ``ProviderResponse("success",
    data=...)``. Raises :class:`~arbd.errors.ResultError` for a ``ProviderResponse`` with an unknown status.
    """
    if isinstance(value, dict):
        status = value.get("status")
        if isinstance(status, str) and status in STATUSES:
            return _from_dict(STATUSES[STATUSES.index(status)], value)
        return ProviderResponse("success", None, value)
    if type(value) in _PLAIN:  # asking whether it is a struct takes 200 ns
        return ProviderResponse("success", None, value)
    if isinstance(value, ProviderResponse):
        if value.status not in STATUSES:
            raise ResultError(f"a response's status is one of {', '.join(STATUSES)}; the action gave {value.status!r}")
        return ProviderResponse(value.status, _text(value.message), value.data)
    return ProviderResponse("success", None, value)


def _from_dict(status: Status, value: dict[Any, Any]) -> ProviderResponse:
    data = value.get("data")
    others = {key: item for key, item in value.items() if key not in _RESPONSE_KEYS}
    if others:
        if data is None:
            data = others
        elif isinstance(data, dict) and not data.keys() & others.keys():
            data = {**data, **others}
        else:  # `others` has no key "data", so neither hides the other
            data = {"data": data, **others}
    return ProviderResponse(status, _text(value.get("message")), data)


def _text(message: Any) -> str | None:
    """The message as text: authors also pass the exception itself."""
    return message if message is None or type(message) is str else str(message)


# --- the shapes -------------------------------------------------------------------------------------------------


def success(data: Any = None, message: str | None = None) -> ProviderResponse:
    """A successful response (shape 1)."""
    return ProviderResponse("success", message, data)


def error(message: str, data: Any = None) -> ProviderResponse:
    """A failed response (shape 2)."""
    return ProviderResponse("error", message, data)


def limited(wait_time: float, message: str | None = None, **fields: Any) -> ProviderResponse:
    """A refusal by a rate limit (shape 3; with the fields of a monitor 8 to 10). ``wait_time``: seconds, above 0."""
    if not isfinite(wait_time) or wait_time <= 0:
        wait_time = _SHORTEST_WAIT_S
    text = message or f"Rate limit exceeded. Please wait {wait_time:g} seconds"
    return ProviderResponse("limit", text, {"wait_time": wait_time, **fields})


def rate_limited(limits: Mapping[str, Any]) -> ProviderResponse:
    """The response for a monitor's refusal, with its own fields. ``retry_after``, the older name, is taken for
    ``wait_time`` where only that is given."""
    fields = {key: value for key, value in limits.items() if key not in ("rate_limited", "wait_time")}
    wait_time = limits.get("wait_time", limits.get("retry_after", _DEFAULT_WAIT_S))
    message = fields.pop("message", None)
    return limited(wait_time, _text(message), **fields)


def invalid(
    subject: Literal["payload", "account"], errors: Sequence[str], *, missing: Sequence[str], schema: Any
) -> ProviderResponse:
    """The response for invalid data: shape 4 if every error is a missing top-level key, the nested form otherwise.

    ``errors`` are all errors in words, ``missing`` the names of absent top-level keys among them, ``schema`` the
    schema's summary.
    """
    if missing and len(missing) == len(errors):
        return error(
            f"Invalid {subject}: Missing required parameters: {', '.join(missing)}",
            {"missing_params": list(missing), "schema": schema, "errors": list(errors)},
        )
    return error(f"{subject.capitalize()} validation failed", {"errors": list(errors)})


def authentication_failed(reason: str, details: str) -> ProviderResponse:
    """The response for a refused token (shape 5)."""
    return error(f"Authentication failed: {reason}", {"error_code": "AUTH_ERROR", "details": details})


def connection_failed(reason: str, *, retry_count: int, next_retry: str) -> ProviderResponse:
    """The response for a hub that cannot be reached (shape 6). ``next_retry`` is an ISO 8601 time."""
    data = {"error_code": "CONNECTION_ERROR", "retry_count": retry_count, "next_retry": next_retry}
    return error(f"Failed to connect to hub: {reason}", data)


def action_not_found(action: str, available: Sequence[str]) -> ProviderResponse:
    """The response for an unknown action (shape 7); with an empty name, for a task that names no action."""
    message = f"Action '{action}' not found" if action else "The task names no action"
    return error(message, {"available_actions": list(available)})


# --- failures ---------------------------------------------------------------------------------------------------


def from_exception(exc: BaseException, error_at: str = "") -> ProviderResponse:
    """The response for an exception that left the action; ``error_at``: where it was raised, file and line. A
    :class:`~arbd.errors.ProviderError` adds its ``data``; what is no mapping is sent under that name."""
    data: dict[str, Any] = {"error_type": type_name(exc)}
    if error_at:
        data["error_at"] = error_at
    if issubclass(type(exc), ProviderError):
        data.update(_own_data(exc))
    return error(message_of(exc), data)


def _own_data(exc: BaseException) -> dict[Any, Any]:
    """What an exception adds to the data of its response. Nothing where the author's own code, which may be a property
    or a mapping, fails at that."""
    try:
        own = getattr(exc, "data", None)
        if isinstance(own, Mapping):
            return dict(own)
        return {} if own is None else {"data": own}
    except TaskTimeout:
        raise
    except BaseException:
        return {}


def type_name(exc: BaseException) -> str:
    """The name of an exception's class, whatever its metaclass says."""
    return str(_NAME_OF_CLASS(type(exc)))


def message_of(exc: BaseException) -> str:
    """The message of an exception as text that can be sent; its type where it has none."""
    try:
        text = str(exc)
    except TaskTimeout:
        raise
    except BaseException:  # the author's own __str__ may be broken, and the failure must be reported all the same
        text = ""
    # Text with lone surrogates (file names, for example) is no UTF-8, so it could not be sent.
    return str.encode(text, "utf-8", "backslashreplace").decode() or type_name(exc)


def timed_out(action: str, timeout_s: float, *, own_s: float | None = None, default_s: float = 0.0) -> ProviderResponse:
    """The response for an action that ran longer than its timeout, in seconds. ``own_s``: the timeout that its author
    gave the action, ``None`` for none; ``default_s``: the setting for those without. A shorter one than that was what
    the hub had left the task."""
    if timeout_s < (own_s or default_s):
        why = "all that was left until the task's own deadline: submit it with more time to change that"
    elif own_s:
        why = "the timeout= of the action: raise it where the action is registered"
    else:
        why = (
            "the setting execution_timeout: raise it (TASK_EXECUTION_TIMEOUT, --timeout), "
            "or register this action with a timeout= of its own"
        )
    data = {"error_code": "TIMEOUT", "timeout": timeout_s}
    return error(f"Action '{action}' timed out after {timeout_s:g} seconds, {why}", data)


def worker_lost(action: str, *, signal: str | None = None, exit_code: int | None = None) -> ProviderResponse:
    """The response for an action whose worker process died. It was killed by ``signal`` (its name), or ended with
    ``exit_code``; without either that is not known."""
    ended: dict[str, str | int]
    if signal:
        how, ended = f"was killed by {signal}", {"signal": signal}
    elif exit_code is not None:
        how, ended = f"exited with code {exit_code}", {"exit_code": exit_code}
    else:
        how, ended = "ended", {}
    return error(f"The worker running action '{action}' {how}", {"error_code": "WORKER_LOST", **ended})


def worker_exhausted(action: str, what: Literal["payload", "result"], reason: str) -> ProviderResponse:
    """The response for a worker process that lacks descriptors or memory: ``reason``. It could not receive the payload,
    so the action was not started, or it could not hand over the result."""
    how = "could not receive its payload" if what == "payload" else "could not hand over its result"
    return error(
        f"The worker running action '{action}' {how}: {reason}", {"error_code": "WORKER_EXHAUSTED", "reason": reason}
    )


def memory_exceeded(action: str, limit: int) -> ProviderResponse:
    """The response for an action whose worker held more memory than it may, in bytes; the worker was ended for it."""
    return error(
        f"Action '{action}' was stopped: its worker held more than {limit} bytes of memory (worker.memory_limit)",
        {"error_code": "MEMORY", "limit": limit},
    )


def cancelled(action: str) -> ProviderResponse:
    """The response for a task that the hub took back before the action had finished."""
    return error(f"Action '{action}' was cancelled", {"error_code": "CANCELLED"})


def paused(action: str, wait_time: float) -> ProviderResponse:
    """The response for a task of an action that the operator of the daemon has paused, where it cannot wait for the end
    of that: ``limit``, to come back after ``wait_time`` seconds."""
    text = f"Action '{action}' is paused by the operator of the provider. Please wait {wait_time:g} seconds"
    return limited(wait_time, text, error_code="PAUSED")


def expired(action: str) -> ProviderResponse:
    """The response for a task whose deadline had passed before the action began."""
    return error(f"Action '{action}' was not started: its deadline had passed", {"error_code": "EXPIRED"})


def aborted(action: str) -> ProviderResponse:
    """The response for an action that the daemon's shutdown ended."""
    return error(f"Action '{action}' was stopped: the provider is shutting down", {"error_code": "ABORTED"})


def no_resources(action: str, reason: str) -> ProviderResponse:
    """The response for a task for which the machine had no memory or descriptor for too long."""
    return error(f"Action '{action}' could not be started: {reason}", {"error_code": "NO_RESOURCES"})


def payload_too_large(size: int, limit: int, subject: Literal["payload", "account"] = "payload") -> ProviderResponse:
    """The response for a payload or account above the size this provider takes; both numbers in bytes."""
    return error(
        f"The {subject} has {size} bytes; this provider takes at most {limit}",
        {"error_code": "PAYLOAD_TOO_LARGE", "size": size, "limit": limit},
    )


def result_too_large(size: int, limit: int) -> ProviderResponse:
    """The response for a result above the size the hub takes, in bytes; ``limit`` 0 if the hub has not said."""
    than = f"the {limit} bytes the hub takes" if limit else "the hub takes"
    data = {"error_code": "RESULT_TOO_LARGE", "size": size, **({"limit": limit} if limit else {})}
    return error(f"Result of {size} bytes is larger than {than}", data)
