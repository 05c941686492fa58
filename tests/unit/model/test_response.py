"""The ten response shapes of the specification come out literally, and every return value becomes one of them."""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec
import pytest

from arbd.errors import ProviderError, ResultError
from arbd.model import response as shapes
from arbd.model.response import ProviderResponse, normalise

SCHEMA = {"param1": "str", "param2": "int"}


def on_the_wire(response: ProviderResponse) -> Any:
    return json.loads(msgspec.json.encode(response))


def test_shape_1_success() -> None:
    assert on_the_wire(shapes.success({"any": "data"})) == {"status": "success", "data": {"any": "data"}}


def test_shape_2_error() -> None:
    assert on_the_wire(shapes.error("Error description", {"optional": 1})) == {
        "status": "error",
        "message": "Error description",
        "data": {"optional": 1},
    }


def test_shape_3_rate_limit() -> None:
    assert on_the_wire(shapes.limited(5.5)) == {
        "status": "limit",
        "message": "Rate limit exceeded. Please wait 5.5 seconds",
        "data": {"wait_time": 5.5},
    }


def test_shape_4_missing_parameters() -> None:
    errors = ["Missing key: param1", "Missing key: param2"]
    response = shapes.invalid("payload", errors, missing=["param1", "param2"], schema=SCHEMA)
    assert on_the_wire(response) == {
        "status": "error",
        "message": "Invalid payload: Missing required parameters: param1, param2",
        "data": {"missing_params": ["param1", "param2"], "schema": SCHEMA, "errors": errors},
    }


def test_shape_4_for_an_account() -> None:
    response = shapes.invalid("account", ["Missing key: api_key"], missing=["api_key"], schema={"api_key": "str"})
    assert response.message == "Invalid account: Missing required parameters: api_key"


def test_nested_form_as_soon_as_one_error_is_of_another_kind() -> None:
    errors = ["Missing key: param1", "Missing key: profile.settings.notifications.sms"]
    assert on_the_wire(shapes.invalid("payload", errors, missing=["param1"], schema=SCHEMA)) == {
        "status": "error",
        "message": "Payload validation failed",
        "data": {"errors": errors},
    }


def test_nested_form_for_an_account() -> None:
    response = shapes.invalid("account", ["Missing key: permissions.admin"], missing=[], schema={})
    assert on_the_wire(response) == {
        "status": "error",
        "message": "Account validation failed",
        "data": {"errors": ["Missing key: permissions.admin"]},
    }


def test_shape_5_authentication() -> None:
    assert on_the_wire(shapes.authentication_failed("Invalid token", "Token expired")) == {
        "status": "error",
        "message": "Authentication failed: Invalid token",
        "data": {"error_code": "AUTH_ERROR", "details": "Token expired"},
    }


def test_shape_6_connection() -> None:
    response = shapes.connection_failed("Connection refused", retry_count=3, next_retry="2024-03-20T10:00:00Z")
    assert on_the_wire(response) == {
        "status": "error",
        "message": "Failed to connect to hub: Connection refused",
        "data": {"error_code": "CONNECTION_ERROR", "retry_count": 3, "next_retry": "2024-03-20T10:00:00Z"},
    }


def test_shape_7_action_not_found() -> None:
    assert on_the_wire(shapes.action_not_found("unknown_action", ["action1", "action2", "action3"])) == {
        "status": "error",
        "message": "Action 'unknown_action' not found",
        "data": {"available_actions": ["action1", "action2", "action3"]},
    }


def test_shape_7_without_a_name() -> None:
    assert on_the_wire(shapes.action_not_found("", ["action1"])) == {
        "status": "error",
        "message": "The task names no action",
        "data": {"available_actions": ["action1"]},
    }


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {
                "wait_time": 3.2,
                "metrics": {"call_count": 100, "total_time": 50.5, "total_cpu": 75.2},
                "is_near_limit": True,
                "is_critical": False,
                "call_usage": 0.85,
                "cpu_usage": 0.75,
            },
            id="shape 8, advanced",
        ),
        pytest.param(
            {
                "wait_time": 15.0,
                "current_count": 95,
                "limit": 100,
                "window_size": 60,
                "window_key": "rate_limit:1234567890",
            },
            id="shape 9, redis",
        ),
        pytest.param(
            {
                "wait_time": 10.0,
                "current_count": 98,
                "limit": 100,
                "window_size": 60,
                "providers": ["provider-a", "provider-b"],
            },
            id="shape 10, shared",
        ),
    ],
)
def test_shapes_8_to_10_come_from_what_a_monitor_says(fields: dict[str, Any]) -> None:
    assert on_the_wire(shapes.rate_limited({"rate_limited": True, **fields})) == {
        "status": "limit",
        "message": f"Rate limit exceeded. Please wait {fields['wait_time']:g} seconds",
        "data": fields,
    }


@pytest.mark.parametrize(
    ("limits", "wait_time"),
    [
        ({"wait_time": 5}, 5),
        ({"wait_time": 0}, 0.001),
        ({"wait_time": -3.0}, 0.001),
        ({"wait_time": float("nan")}, 0.001),
        ({"wait_time": float("inf")}, 0.001),
        ({"retry_after": 2.5}, 2.5),
        ({}, 1.0),
    ],
)
def test_wait_time_is_always_a_positive_number(limits: dict[str, Any], wait_time: float) -> None:
    assert shapes.rate_limited({"rate_limited": True, **limits}).data["wait_time"] == wait_time


def test_a_monitor_may_bring_its_own_message() -> None:
    response = shapes.rate_limited({"rate_limited": True, "wait_time": 1, "message": "Closed at night"})
    assert response == ProviderResponse("limit", "Closed at night", {"wait_time": 1})


@pytest.mark.parametrize(
    ("own_s", "default_s", "why"),
    [
        (
            None,
            0.25,
            "the setting execution_timeout: raise it (TASK_EXECUTION_TIMEOUT, --timeout), "
            "or register this action with a timeout= of its own",
        ),
        (0.25, 60.0, "the timeout= of the action: raise it where the action is registered"),
        (5.0, 0.1, "all that was left until the task's own deadline: submit it with more time to change that"),
        (None, 1.0, "all that was left until the task's own deadline: submit it with more time to change that"),
    ],
)
def test_timed_out(own_s: float | None, default_s: float, why: str) -> None:
    assert on_the_wire(shapes.timed_out("slow", 0.25, own_s=own_s, default_s=default_s)) == {
        "status": "error",
        "message": f"Action 'slow' timed out after 0.25 seconds, {why}",
        "data": {"error_code": "TIMEOUT", "timeout": 0.25},
    }


def test_worker_lost_by_a_signal() -> None:
    assert on_the_wire(shapes.worker_lost("crash", signal="SIGSEGV")) == {
        "status": "error",
        "message": "The worker running action 'crash' was killed by SIGSEGV",
        "data": {"error_code": "WORKER_LOST", "signal": "SIGSEGV"},
    }


def test_worker_lost_by_an_exit() -> None:
    assert on_the_wire(shapes.worker_lost("leave", exit_code=3)) == {
        "status": "error",
        "message": "The worker running action 'leave' exited with code 3",
        "data": {"error_code": "WORKER_LOST", "exit_code": 3},
    }


def test_aborted() -> None:
    assert on_the_wire(shapes.aborted("long")) == {
        "status": "error",
        "message": "Action 'long' was stopped: the provider is shutting down",
        "data": {"error_code": "ABORTED"},
    }


def test_payload_too_large() -> None:
    assert on_the_wire(shapes.payload_too_large(20_000_000, 16_777_216)) == {
        "status": "error",
        "message": "The payload has 20000000 bytes; this provider takes at most 16777216",
        "data": {"error_code": "PAYLOAD_TOO_LARGE", "size": 20_000_000, "limit": 16_777_216},
    }


# --- exceptions -------------------------------------------------------------------------------------------------


def test_an_exception_is_an_error_with_its_text_and_class() -> None:
    assert on_the_wire(shapes.from_exception(ValueError("Invalid user ID"))) == {
        "status": "error",
        "message": "Invalid user ID",
        "data": {"error_type": "ValueError"},
    }


def test_an_exception_without_text_is_named_by_its_class() -> None:
    assert shapes.from_exception(KeyboardInterrupt()).message == "KeyboardInterrupt"


def test_an_exception_whose_text_fails_is_named_by_its_class() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert shapes.from_exception(BrokenError()).message == "BrokenError"


def test_text_that_is_no_utf_8_is_escaped() -> None:
    assert shapes.from_exception(OSError("no file \udcff")).message == "no file \\udcff"


def test_a_provider_error_brings_its_data() -> None:
    class CardDeclinedError(ProviderError):
        pass

    assert shapes.from_exception(CardDeclinedError("declined", {"code": 51})) == ProviderResponse(
        "error", "declined", {"error_type": "CardDeclinedError", "code": 51}
    )


# --- what a handler returns -------------------------------------------------------------------------------------


class Word(str, enum.Enum):  # noqa: UP042 - authors do write it this way
    ERROR = "error"


@pytest.mark.parametrize(
    ("returned", "response"),
    [
        pytest.param(None, ProviderResponse("success"), id="none"),
        pytest.param({}, ProviderResponse("success", None, {}), id="empty dict"),
        pytest.param({"a": 1}, ProviderResponse("success", None, {"a": 1}), id="dict"),
        pytest.param([1, 2], ProviderResponse("success", None, [1, 2]), id="list"),
        pytest.param({"status": "success"}, ProviderResponse("success"), id="bare response"),
        pytest.param(
            {"status": "paid", "id": 7},
            ProviderResponse("success", None, {"status": "paid", "id": 7}),
            id="other status",
        ),
        pytest.param(
            {"status": 200, "id": 7}, ProviderResponse("success", None, {"status": 200, "id": 7}), id="status number"
        ),
        pytest.param(
            {"status": "error", "message": "no", "data": {"a": 1}},
            ProviderResponse("error", "no", {"a": 1}),
            id="whole response",
        ),
        pytest.param({"status": Word.ERROR}, ProviderResponse("error"), id="enum status"),
        pytest.param(
            {"status": "error", "message": ValueError("no")}, ProviderResponse("error", "no"), id="exception as message"
        ),
        pytest.param(
            {"status": "error", "code": 5}, ProviderResponse("error", None, {"code": 5}), id="other keys, no data"
        ),
        pytest.param(
            {"status": "success", "cached": True, "data": {"a": 1}},
            ProviderResponse("success", None, {"a": 1, "cached": True}),
            id="other keys join data",
        ),
        pytest.param(
            {"status": "success", "a": 2, "data": {"a": 1}},
            ProviderResponse("success", None, {"data": {"a": 1}, "a": 2}),
            id="a key in both",
        ),
        pytest.param(
            {"status": "success", "a": 2, "data": [1]},
            ProviderResponse("success", None, {"data": [1], "a": 2}),
            id="other keys, data a list",
        ),
        pytest.param(ProviderResponse("limit", "wait"), ProviderResponse("limit", "wait"), id="response object"),
        pytest.param(
            ProviderResponse("error", ValueError("no")),  # type: ignore[arg-type] # what authors do all the same
            ProviderResponse("error", "no"),
            id="response object with an exception",
        ),
    ],
)
def test_normalise(returned: Any, response: ProviderResponse) -> None:
    assert normalise(returned) == response


def test_a_response_object_with_an_unknown_status_is_refused() -> None:
    with pytest.raises(ResultError, match=r"one of success, error, limit; the action gave 'paid'"):
        normalise(ProviderResponse("paid"))  # type: ignore[arg-type] # the point of the test


def test_message_and_data_stay_away_where_there_are_none() -> None:
    assert msgspec.json.encode(ProviderResponse("success")) == b'{"status":"success"}'
