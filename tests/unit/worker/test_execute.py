"""Whatever a task holds and whatever an action does, ``execute`` answers with one response; only a timeout passes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.author.provider import Provider
from arbd.errors import ProviderError, TaskTimeout
from arbd.model.response import ProviderResponse
from arbd.model.task import Task
from arbd.rate_limit import NoRateLimitMonitor, RateLimitMonitor
from arbd.worker.execute import Context, execute

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)


class LogBook:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, BaseException | None]] = []

    def info(self, event: str) -> None:
        self.lines.append(("info", event, None))

    def warning(self, event: str) -> None:
        self.lines.append(("warning", event, None))

    def error(self, event: str, exc_info: BaseException | None = None) -> None:
        self.lines.append(("error", event, exc_info))


def run_async(awaitable: Any, deadline: float) -> Any:
    """A loop that never has to wait: one step is the whole coroutine."""
    try:
        awaitable.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the coroutine waits for something")


def a_provider(**arguments: Any) -> Provider:
    return Provider("fx", logger=LogBook(), timezone="Europe/Moscow", **arguments)


def run(
    provider: Provider, action: str = "act", payload: Any = None, account: Any = None, **settings: Any
) -> dict[str, Any]:
    """The response dict of one task. Bytes are sent as they are, anything else as JSON."""
    context = Context(provider, utc_now=lambda: NOON, run_async=run_async, **settings)
    status, text = execute(context, Task("t-1", action, _bytes(payload), _bytes(account)), 99.5)
    response: dict[str, Any] = json.loads(text)
    assert response["status"] == status
    return response


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else json.dumps(value).encode()


def answer(handler: Callable[..., Any], payload: Any = None, account: Any = None, **options: Any) -> dict[str, Any]:
    """The response of a provider with this one action."""
    provider = a_provider()
    provider.actions.register(name="act", **options)(handler)
    return run(provider, "act", payload, account)


# --- what handlers get and return -------------------------------------------------------------------------------


def test_keys_of_the_payload() -> None:
    schema = {"param1": str, "param2": int}
    assert answer(
        lambda param1, param2: {"got": [param1, param2]},
        {"param1": "x", "param2": 2, "extra": 1},
        payload_schema=schema,
    ) == {"status": "success", "data": {"got": ["x", 2]}}


def test_unknown_keys_never_reach_the_handler() -> None:
    assert answer(lambda payload: payload, {"a": 1, "b": 2}, payload_schema={"a": int})["data"] == {"a": 1}


def test_the_account_is_decoded_for_whoever_asks() -> None:
    assert answer(lambda account: account, account={"api_key": "k"})["data"] == {"api_key": "k"}
    assert answer(lambda account: account)["data"] == {}


def test_an_account_that_nobody_asks_for_is_not_looked_at() -> None:
    assert answer(lambda: {"ok": 1}, account=b"not JSON")["status"] == "success"


def test_everything_in_kwargs_can_be_sent_back() -> None:
    assert answer(lambda **kwargs: {"all_params": kwargs}, {"a": 1})["data"]["all_params"] == {
        "payload": {"a": 1},
        "account": {},
        "logger": "<logger fx>",
        "provider": {"name": "fx"},
        "timezone": "Europe/Moscow",
        "now": "2024-07-01T15:00:00+03:00",
        "now_utc": "2024-07-01T12:00:00Z",
        "task": {"id": "t-1", "action": "act", "deadline": 99.5, "traceparent": ""},
        "a": 1,
    }


def test_an_async_handler() -> None:
    async def handler(a: int) -> dict[str, int]:
        return {"a": a}

    assert answer(handler, {"a": 3}, payload_schema={"a": int}) == {"status": "success", "data": {"a": 3}}


def test_a_plain_handler_may_return_an_awaitable() -> None:
    async def inner() -> dict[str, int]:
        return {"a": 1}

    assert answer(lambda: inner())["data"] == {"a": 1}


def test_the_loop_is_told_the_deadline() -> None:
    async def handler() -> None: ...

    told = []

    def runner(awaitable: Any, deadline: float) -> Any:
        told.append(deadline)
        return run_async(awaitable, deadline)

    provider = a_provider()
    provider.actions.register(name="act")(handler)
    execute(Context(provider, utc_now=lambda: NOON, run_async=runner), Task("t", "act"), 12.5)
    assert told == [12.5]


@pytest.mark.parametrize(
    ("returned", "response"),
    [
        (None, {"status": "success"}),
        ({"result": 1}, {"status": "success", "data": {"result": 1}}),
        ({"status": "success"}, {"status": "success"}),
        ({"status": "paid"}, {"status": "success", "data": {"status": "paid"}}),
        ({"status": "limit", "message": "wait"}, {"status": "limit", "message": "wait"}),
        (ProviderResponse("error", "no", {"a": 1}), {"status": "error", "message": "no", "data": {"a": 1}}),
    ],
)
def test_return_values(returned: Any, response: dict[str, Any]) -> None:
    assert answer(lambda: returned) == response


# --- bad input --------------------------------------------------------------------------------------------------

SCHEMA = {"param1": str, "param2": int}


def test_missing_parameters_are_shape_4() -> None:
    assert answer(lambda payload: None, {}, payload_schema=SCHEMA) == {
        "status": "error",
        "message": "Invalid payload: Missing required parameters: param1, param2",
        "data": {
            "missing_params": ["param1", "param2"],
            "schema": {"param1": "str", "param2": "int"},
            "errors": ["Missing key: param1", "Missing key: param2"],
        },
    }


def test_no_payload_at_all_is_an_empty_object() -> None:
    assert answer(lambda payload: None, payload_schema=SCHEMA)["data"]["missing_params"] == ["param1", "param2"]


def test_a_missing_nested_key_is_the_nested_form() -> None:
    schema = {"profile": {"settings": {"sms": bool}}}
    assert answer(lambda payload: None, {"profile": {"settings": {}}}, payload_schema=schema) == {
        "status": "error",
        "message": "Payload validation failed",
        "data": {"errors": ["Missing key: profile.settings.sms"]},
    }


def test_a_wrong_type_beside_a_missing_key_is_the_nested_form() -> None:
    response = answer(lambda payload: None, {"param2": "x"}, payload_schema=SCHEMA)
    assert response["message"] == "Payload validation failed"
    assert response["data"] == {"errors": ["Missing key: param1", "Wrong type at param2: expected int, got str"]}


def test_an_account_is_checked_where_a_schema_says_so() -> None:
    response = answer(lambda: None, {}, account_schema={"api_key": str})
    assert response["message"] == "Invalid account: Missing required parameters: api_key"
    assert response["data"]["schema"] == {"api_key": "str"}


def test_a_parameter_that_the_schema_does_not_promise_is_shape_4() -> None:
    assert answer(lambda a, b: None, {"b": 1}, payload_schema={"a": int | None, "b": int}) == {
        "status": "error",
        "message": "Invalid payload: Missing required parameters: a",
        "data": {
            "missing_params": ["a"],
            "schema": {"a": "int | None", "b": "int"},
            "errors": ["Missing key: a"],
        },
    }


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"{", id="truncated"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": "\xff"}', id="no UTF-8"),
        pytest.param(b'{"a":' * 100_000, id="deep, truncated"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep"),
        pytest.param(b"\x00", id="a zero byte"),
    ],
)
@pytest.mark.parametrize("schema", [None, {"a": int}, {"a": Any}])
def test_a_payload_that_is_no_json_object_is_an_error(payload: bytes, schema: Any) -> None:
    response = answer(lambda payload: None, payload, payload_schema=schema)
    assert (response["status"], response["message"]) == ("error", "Payload validation failed")
    assert response["data"]["errors"] != []


@given(st.binary())
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert answer(lambda payload, account: None, data, data, payload_schema=SCHEMA)["status"] == "error"


def test_only_actions_that_are_called_are_made_ready() -> None:
    """With thousands of actions, a worker that made all of them ready would take half a second and 45 MB."""
    provider = a_provider()
    for name in ("one", "two", "three"):
        provider.actions.register(name=name)(lambda: None)
    context = Context(provider, utc_now=lambda: NOON, run_async=run_async)
    assert list(context.steps) == []
    for name in ("two", "no such action", "two"):
        execute(context, Task("t-1", name), 99.5)
    assert list(context.steps) == ["two"]


def test_the_trace_context_reaches_the_handler() -> None:
    provider = a_provider()
    provider.actions.register(name="act")(lambda task: {"traceparent": task.traceparent})
    context = Context(provider, utc_now=lambda: NOON, run_async=run_async)
    _, text = execute(context, Task("t-1", "act", traceparent="00-ab-cd-01"), 99.5)
    assert json.loads(text)["data"] == {"traceparent": "00-ab-cd-01"}


def test_an_unknown_action_is_shape_7() -> None:
    provider = a_provider()
    provider.actions.register(name="one")(lambda: None)
    provider.actions.register(name="two")(lambda: None)
    assert run(provider, "three") == {
        "status": "error",
        "message": "Action 'three' not found",
        "data": {"available_actions": ["one", "two"]},
    }
    assert run(provider, "")["message"] == "The task names no action"


# --- failing handlers -------------------------------------------------------------------------------------------


class DeclinedError(ProviderError):
    pass


@pytest.mark.parametrize(
    ("raised", "message", "data"),
    [
        (ValueError("Invalid user ID"), "Invalid user ID", {"error_type": "ValueError"}),
        (DeclinedError("declined", {"code": 51}), "declined", {"error_type": "DeclinedError", "code": 51}),
        (KeyError("a"), "'a'", {"error_type": "KeyError"}),
        (SystemExit(3), "3", {"error_type": "SystemExit"}),
        (KeyboardInterrupt(), "KeyboardInterrupt", {"error_type": "KeyboardInterrupt"}),
        (asyncio.CancelledError(), "CancelledError", {"error_type": "CancelledError"}),
        (GeneratorExit(), "GeneratorExit", {"error_type": "GeneratorExit"}),
        (MemoryError(), "MemoryError", {"error_type": "MemoryError"}),
        (StopIteration(7), "7", {"error_type": "StopIteration"}),
        (ExceptionGroup("two", [OSError(), OSError()]), "two (2 sub-exceptions)", {"error_type": "ExceptionGroup"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_exception_is_an_error_result(raised: BaseException, message: str, data: dict[str, Any]) -> None:
    def handler() -> None:
        raise raised

    told = answer(handler)
    place = told["data"].pop("error_at", "")
    assert told == {"status": "error", "message": message, "data": data}
    assert place.startswith("test_execute.py:") == (not isinstance(raised, ProviderError))


def test_endless_recursion_is_an_error_result() -> None:
    def handler() -> Any:
        return handler()

    data = answer(handler)["data"]
    assert (data["error_type"], data["error_at"].partition(":")[0]) == ("RecursionError", "test_execute.py")


@pytest.mark.parametrize(
    "raised",
    [
        TaskTimeout(),
        BaseExceptionGroup("tasks", [ValueError(), TaskTimeout()]),
        BaseExceptionGroup("tasks", [BaseExceptionGroup("inner", [TaskTimeout()])]),
    ],
    ids=["bare", "in a group", "in a group of groups"],
)
def test_a_timeout_passes_untouched(raised: BaseException) -> None:
    def handler() -> None:
        raise raised

    with pytest.raises(type(raised)) as caught:
        answer(handler)
    assert caught.value is raised


@pytest.mark.parametrize("place", ["check_rate_limits", "encode", "log"])
def test_a_timeout_passes_wherever_it_is_raised(place: str) -> None:
    class Model:
        def model_dump(self, mode: str) -> None:
            raise TaskTimeout

    class Striking(RateLimitMonitor, LogBook):
        def check_rate_limits(self) -> None:
            if place == "check_rate_limits":
                raise TaskTimeout

        def error(self, event: str, exc_info: BaseException | None = None) -> None:
            raise TaskTimeout

    def handler() -> Any:
        if place == "log":
            raise ValueError
        return Model()

    provider = Provider("fx", logger=Striking(), rate_limit_monitor=Striking())
    provider.actions.register(name="act")(handler)
    with pytest.raises(TaskTimeout):
        run(provider)


@pytest.mark.parametrize(
    ("own_s", "timeout", "why"),
    [(None, 1.0, "execution_timeout"), (2.0, 2.0, "the timeout= of the action"), (2.0, 0.5, "own deadline")],
)
def test_a_late_task_is_told_which_timeout_held(own_s: float | None, timeout: float, why: str) -> None:
    provider = a_provider()
    provider.actions.register(name="act", timeout=own_s)(lambda: None)
    context = Context(provider, utc_now=lambda: NOON, run_async=run_async)
    response = json.loads(context.timed_out("act", timeout))
    assert why in response["message"]
    assert response["data"] == {"error_code": "TIMEOUT", "timeout": timeout}


def test_what_nan_becomes_is_the_settings_business() -> None:
    provider = a_provider()
    provider.actions.register(name="act")(lambda: {"rate": float("nan")})
    assert run(provider, nan="null")["data"] == {"rate": None}
    refused = run(provider)
    assert refused["data"] == {
        "error_type": "ResultError",
        "error_code": "RESULT_NOT_ENCODABLE",
        "path": "data.rate",
        "type": "float nan",
    }


def test_an_exception_keeps_its_data_but_for_nan() -> None:
    def act() -> None:
        raise ProviderError("no rate", {"last": float("inf"), "currency": "EUR"})

    assert answer(act) == {
        "status": "error",
        "message": "no rate",
        "data": {"error_type": "ProviderError", "last": None, "currency": "EUR"},
    }


def test_a_result_that_cannot_be_sent_is_an_error_that_names_it() -> None:
    assert answer(lambda: {"items": [{"when": 1j}]}) == {
        "status": "error",
        "message": "The action returned something JSON has no form for: data.items[0].when: complex; "
        "return [z.real, z.imag] instead",
        "data": {
            "error_type": "ResultError",
            "error_code": "RESULT_NOT_ENCODABLE",
            "path": "data.items[0].when",
            "type": "complex",
        },
    }


def test_a_failure_whose_data_cannot_be_sent_keeps_its_message() -> None:
    def handler() -> None:
        raise DeclinedError("declined", {"when": 1j})

    assert answer(handler) == {
        "status": "error",
        "message": "declined",
        "data": {
            "error_type": "DeclinedError",
            "error_code": "RESULT_NOT_ENCODABLE",
            "path": "data.when",
            "type": "complex",
        },
    }


def test_a_result_that_is_too_large_is_an_error() -> None:
    provider = a_provider()
    provider.actions.register(name="act")(lambda: {"text": "x" * 5000})
    response = run(provider, max_result=4096)
    assert response["status"] == "error"
    assert response["message"] == "The result of action 'act' has 5039 bytes; at most 4096 can be sent"
    assert response["data"] == {
        "error_type": "ResultError",
        "error_code": "RESULT_TOO_LARGE",
        "size": 5039,
        "limit": 4096,
    }


def test_a_message_that_is_too_large_is_cut() -> None:
    def handler() -> None:
        raise ValueError("x" * 5000)

    provider = a_provider()
    provider.actions.register(name="act")(handler)
    response = run(provider, max_result=4096)
    assert response["message"] == "x" * 1000
    assert response["data"]["error_type"] == "ValueError"
    assert response["data"]["error_code"] == "RESULT_TOO_LARGE"


@pytest.mark.parametrize("envelope", ["plain", "metadata"])
def test_no_limit_is_too_small_for_an_answer(envelope: str) -> None:
    def handler() -> None:
        raise DeclinedError("\x00" * 5000, {"k" * 5000: 1j})

    provider = a_provider()
    provider.actions.register(name="act")(handler)
    response = run(provider, max_result=1, envelope=envelope)
    assert response["message"] == "\x00" * 1000
    assert len(json.dumps(response)) < 8000


def test_metadata_wraps_an_error_too() -> None:
    provider = a_provider()
    assert run(provider, "nothing", envelope="metadata")["data"] == {
        "provider": "fx",
        "action": "nothing",
        "timezone": "Europe/Moscow",
        "now": "2024-07-01T15:00:00+03:00",
        "now_utc": "2024-07-01T12:00:00Z",
        "response": {"available_actions": []},
    }


class OddDataError(ProviderError):
    """A failure whose ``data`` breaks whoever looks."""

    @property
    def data(self) -> Any:
        raise SystemExit(9)

    @data.setter
    def data(self, value: Any) -> None: ...


class Meta(type):
    """A metaclass with a name of its own."""

    @property
    def __name__(cls) -> str:  # type: ignore[override] # what such code does
        raise RuntimeError


class OddNameError(Exception, metaclass=Meta):
    """A failure whose class has no name."""


class SilentError(Exception):
    """A failure whose text ends the process."""

    def __str__(self) -> str:
        raise SystemExit(9)


class OddTextError(Exception):
    """A failure whose text is no plain one."""

    def __str__(self) -> str:
        class Text(str):
            def encode(self, *_: Any) -> bytes:
                raise RuntimeError

        return Text("odd")


class OddGroupError(ExceptionGroup[Exception]):
    """A group that cannot be looked through."""

    def derive(self, excs: Any) -> Any:
        raise SystemExit(9)

    def __str__(self) -> str:
        return "group"


class OddClassError(Exception):
    """A failure that does not tell its class."""

    @property  # type: ignore[misc]  # read-only here, that is the point
    def __class__(self) -> Any:
        raise RuntimeError


class OddMapping(dict[Any, Any]):
    """A mapping that cannot be read."""

    def keys(self) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("failure", "message", "data"),
    [
        (ProviderError("m", ["x"]), "m", {"data": ["x"]}),  # type: ignore[arg-type] # what authors do
        (ProviderError("m", "text"), "m", {"data": "text"}),  # type: ignore[arg-type] # as above
        (ProviderError("m", OddMapping(a=1)), "m", {}),
        (ProviderError("m", {"\udcff": [object()]}), "m", {"error_code": "RESULT_NOT_ENCODABLE"}),
        (OddDataError("m"), "m", {}),
        (OddNameError("m"), "m", {}),
        (SilentError(), "SilentError", {}),
        (OddTextError(), "odd", {}),
        (OddGroupError("g", [ValueError()]), "group", {}),
        (OddClassError("m"), "m", {}),
    ],
    ids=lambda value: type.__dict__["__name__"].__get__(type(value)),
)
def test_an_odd_failure_is_answered_like_any_other(failure: BaseException, message: str, data: dict[str, Any]) -> None:
    def fails() -> None:
        raise failure

    response = answer(fails)
    name = type.__dict__["__name__"].__get__(type(failure))
    assert (response["status"], response["message"]) == ("error", message)
    assert response["data"] == {**response["data"], "error_type": name, **data}


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_a_logger_that_raises_keeps_nobody_from_the_answer(raised: type[BaseException]) -> None:
    class Broken(LogBook):
        def warning(self, event: str) -> None:
            raise raised

        def error(self, event: str, exc_info: BaseException | None = None) -> None:
            raise raised

    provider = Provider("fx", logger=Broken())

    @provider.actions.register(name="act")
    def act() -> None:
        raise ValueError("m")

    assert run(provider)["message"] == "m"


# --- the log ----------------------------------------------------------------------------------------------------


def logged(handler: Callable[[], Any]) -> list[tuple[str, str, BaseException | None]]:
    provider = a_provider()
    provider.actions.register(name="act")(handler)
    run(provider)
    lines: list[tuple[str, str, BaseException | None]] = provider.logger.lines
    return lines


def test_an_unexpected_exception_goes_to_the_log_with_its_traceback() -> None:
    exc = ValueError("broken")

    def handler() -> None:
        raise exc

    [(level, event, exc_info)] = logged(handler)
    assert isinstance(exc_info, tuple)
    assert (level, event, exc_info[:2]) == ("error", "action failed", (ValueError, exc))


def test_a_told_failure_is_one_line() -> None:
    def handler() -> None:
        raise DeclinedError("declined")

    assert logged(handler) == [("warning", "action refused the task: DeclinedError: declined", None)]


def test_a_success_is_not_logged() -> None:
    assert logged(lambda: None) == []


def test_a_standard_library_logger_will_do(caplog: pytest.LogCaptureFixture) -> None:
    def handler() -> None:
        raise ValueError("broken")

    provider = Provider("fx", logger=logging.getLogger("author"))
    provider.actions.register(name="act")(handler)
    assert run(provider)["message"] == "broken"
    assert caplog.messages == ["action failed"]
    assert "ValueError: broken" in caplog.text


def test_a_broken_logger_costs_nobody_an_answer() -> None:
    def handler() -> None:
        raise ValueError("broken")

    provider = Provider("fx", logger=object())
    provider.actions.register(name="act")(handler)
    assert run(provider)["message"] == "broken"


# --- monitors ---------------------------------------------------------------------------------------------------


class Closed(RateLimitMonitor):
    def __init__(self, wait_time: float) -> None:
        self.wait_time = wait_time

    def check_rate_limits(self) -> dict[str, Any]:
        return {"rate_limited": True, "wait_time": self.wait_time, "limit": 100}


def limited_answer(of_provider: Any, of_action: Any) -> dict[str, Any]:
    provider = a_provider(rate_limit_monitor=of_provider)
    provider.actions.register(name="act", rate_limit_monitor=of_action)(lambda: {"ran": True})
    return run(provider)


def test_a_limited_task_gets_the_monitor_s_figures() -> None:
    assert limited_answer(Closed(5.5), None) == {
        "status": "limit",
        "message": "Rate limit exceeded. Please wait 5.5 seconds",
        "data": {"wait_time": 5.5, "limit": 100},
    }


def test_an_action_s_monitor_replaces_the_provider_s() -> None:
    assert limited_answer(Closed(1), Closed(2))["data"]["wait_time"] == 2
    assert limited_answer(Closed(1), NoRateLimitMonitor())["data"] == {"ran": True}
    assert limited_answer(NoRateLimitMonitor(), None)["data"] == {"ran": True}
    assert limited_answer(None, Closed(3))["data"]["wait_time"] == 3


def test_the_limit_comes_before_the_payload_is_looked_at() -> None:
    provider = a_provider(rate_limit_monitor=Closed(1))
    provider.actions.register(name="act")(lambda: None)
    assert run(provider, payload=b"not JSON")["status"] == "limit"


@pytest.mark.parametrize("says", [None, {}, {"rate_limited": False}])
def test_a_monitor_lets_through(says: Any) -> None:
    class Open(RateLimitMonitor):
        def check_rate_limits(self) -> Any:
            return says

    assert limited_answer(Open(), None)["data"] == {"ran": True}


def test_a_monitor_set_after_construction_counts() -> None:
    provider = a_provider()
    provider.rate_limit_monitor = Closed(4)
    provider.actions.register(name="act")(lambda: None)
    assert run(provider)["data"]["wait_time"] == 4


def test_a_monitor_that_fails_is_an_error_result() -> None:
    class Failing(RateLimitMonitor):
        def check_rate_limits(self) -> None:
            raise ConnectionError("no redis")

    told = limited_answer(Failing(), None)
    assert told["data"].pop("error_at").startswith("test_execute.py:")
    assert told == {"status": "error", "message": "no redis", "data": {"error_type": "ConnectionError"}}
