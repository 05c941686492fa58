"""The specifications' examples for authors run as written there, with ``arbd`` as the package.

The sections Quick Start, Provider Configuration, Action Registration, Writing Actions and Nested Schema Validation,
each in-process through ``execute``.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import Any, Dict, Optional  # noqa: UP035 - as the specifications write it

import pytest

from arbd import NoRateLimitMonitor, Provider, ProviderResponse, RateLimitMonitor, action
from arbd.errors import DuplicateActionError
from arbd.model.task import Task
from arbd.worker.execute import Context, execute

NOON = datetime(2024, 3, 20, 12, tzinfo=UTC)


def run_async(awaitable: Any, deadline: float) -> Any:
    async def waited() -> Any:
        return await awaitable

    return asyncio.run(waited())


def ask(provider: Provider, name: str, payload: Any = None, account: Any = None, **settings: Any) -> dict[str, Any]:
    """The response to one task."""
    context = Context(provider, utc_now=lambda: NOON, run_async=run_async, **settings)
    task = Task("task-1", name, json.dumps(payload or {}).encode(), json.dumps(account or {}).encode())
    status, text = execute(context, task, 1.0)
    response: dict[str, Any] = json.loads(text)
    assert response["status"] == status
    return response


# --- Quick Start ------------------------------------------------------------------------------------------------


class MyProvider(Provider):
    def __init__(self) -> None:
        super().__init__(
            name=os.getenv("PROVIDER_NAME", "my-provider"),
            auth_token=os.getenv("PROVIDER_AUTH_TOKEN"),
            hub_url=os.getenv("HUB_GRPC_URL", "hub-grpc:50051"),
            execution_timeout=int(os.getenv("TASK_EXECUTION_TIMEOUT", 1)),
        )

        @self.actions.register(
            name="my_action",
            description="Description of what this action does",
            payload_schema={"param1": str, "param2": int},
        )
        def my_action(param1: str, param2: int) -> dict[str, Any]:
            return {"result": "success"}


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable in ("PROVIDER_NAME", "PROVIDER_AUTH_TOKEN", "HUB_GRPC_URL", "TASK_EXECUTION_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("bare_environment")
def test_quick_start() -> None:
    provider = MyProvider()
    assert ask(provider, "my_action", {"param1": "test", "param2": 123}) == {
        "status": "success",
        "data": {"result": "success"},
    }
    assert provider.actions["my_action"].description == "Description of what this action does"


@pytest.mark.usefixtures("bare_environment")
def test_quick_start_without_parameters_is_the_validation_error_response() -> None:
    assert ask(MyProvider(), "my_action") == {
        "status": "error",
        "message": "Invalid payload: Missing required parameters: param1, param2",
        "data": {
            "missing_params": ["param1", "param2"],
            "schema": {"param1": "str", "param2": "int"},
            "errors": ["Missing key: param1", "Missing key: param2"],
        },
    }


@pytest.mark.usefixtures("bare_environment")
def test_quick_start_with_another_action_is_the_not_found_response() -> None:
    assert ask(MyProvider(), "unknown_action") == {
        "status": "error",
        "message": "Action 'unknown_action' not found",
        "data": {"available_actions": ["my_action"]},
    }


def test_quick_start_reads_the_environment(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("PROVIDER_NAME", "other")
    bare_environment.setenv("TASK_EXECUTION_TIMEOUT", "5")
    provider = MyProvider()
    assert (provider.name, provider.execution_timeout) == ("other", 5)


# --- Provider Configuration, Time Zone Support ------------------------------------------------------------------


def test_provider_configuration_defaults() -> None:
    provider = Provider(name="my-provider", auth_token="my-token")
    assert provider.hub_url == "hub-grpc:50051"
    assert provider.execution_timeout == 1
    assert provider.rate_limit_monitor is None
    assert provider.timezone == "UTC"
    assert provider.logger is not None


def test_time_zone_provider() -> None:
    class TimeZoneProvider(Provider):
        def __init__(self) -> None:
            super().__init__(
                name="timezone-provider",
                auth_token="your-auth-token",
                hub_url="hub-grpc:50051",
                timezone="Europe/Moscow",
            )
            self.rate_limit_monitor = NoRateLimitMonitor()

            @self.actions.register(name="when", description="Says when")
            def when(now: datetime, now_utc: datetime, timezone: str) -> dict[str, Any]:
                return {"now": now, "now_utc": now_utc, "timezone": timezone}

    assert ask(TimeZoneProvider(), "when")["data"] == {
        "now": "2024-03-20T15:00:00+03:00",
        "now_utc": "2024-03-20T12:00:00Z",
        "timezone": "Europe/Moscow",
    }


def test_debug_logging_can_be_switched_on() -> None:
    class DebugProvider(Provider):
        def __init__(self) -> None:
            super().__init__(name="debug-provider", auth_token="your-auth-token", hub_url="hub-grpc:50051")
            self.logger.setLevel("DEBUG")

    assert DebugProvider().logger is not None


def test_secure_provider_checks_its_token() -> None:
    class SecureProvider(Provider):
        def __init__(self, token: str) -> None:
            super().__init__(name="secure-provider", auth_token=token, hub_url="hub-grpc:50051")
            self._validate_auth_token()

        def _validate_auth_token(self) -> None:
            if not self.auth_token or len(self.auth_token) < 32:
                raise ValueError("Invalid authentication token")

    provider = SecureProvider("t" * 32)
    provider.redact()
    provider._validate_auth_token()  # the stand-in that workers see still passes
    assert provider.auth_token != "t" * 32
    with pytest.raises(ValueError, match="Invalid authentication token"):
        SecureProvider("short")


# --- Action Registration ----------------------------------------------------------------------------------------


def spec_provider() -> Provider:
    return Provider(name="my-provider", auth_token="my-token", hub_url="hub-grpc:50051")


@pytest.mark.parametrize(
    ("payload", "seen"),
    [
        ({"param1": "a", "param2": 1}, ["a", 1, None]),
        ({"param1": "a", "param2": 1, "optional_param": None}, ["a", 1, None]),
        ({"param1": "a", "param2": 1, "optional_param": "o"}, ["a", 1, "o"]),
    ],
)
def test_basic_action_registration(payload: dict[str, Any], seen: list[Any]) -> None:
    provider = spec_provider()

    @provider.actions.register(
        name="action_name",
        description="Detailed description of the action",
        payload_schema={"param1": str, "param2": int, "optional_param": Optional[str]},  # noqa: UP045 - as written there
    )
    def action_handler(param1: str, param2: int, optional_param: Optional[str] = None) -> Any:  # noqa: UP045 - the same
        return {"result": [param1, param2, optional_param]}

    assert ask(provider, "action_name", payload)["data"] == {"result": seen}


def test_complex_schema_validation() -> None:
    provider = spec_provider()

    @provider.actions.register(
        name="process_order",
        description="Process a complex order with validation",
        payload_schema={
            "order_id": str,
            "items": [{"product_id": str, "quantity": int, "price": float}],
            "customer": {"name": str, "email": str, "address": {"street": str, "city": str, "zip": str}},
        },
    )
    def process_order(payload: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006 - as written there
        return {"status": "success"}

    customer = {"name": "n", "email": "e", "address": {"street": "s", "city": "c", "zip": "z"}}
    items = [{"product_id": "p", "quantity": 1, "price": 2}]
    assert ask(provider, "process_order", {"order_id": "1", "items": items, "customer": customer}) == {
        "status": "success"
    }
    items.append({"product_id": "p", "quantity": True, "price": "2"})
    del customer["address"]["zip"]  # type: ignore[attr-defined] # the address is a dict
    assert ask(provider, "process_order", {"order_id": "1", "items": items, "customer": customer}) == {
        "status": "error",
        "message": "Payload validation failed",
        "data": {
            "errors": [
                "Wrong type at items[1].quantity: expected int, got bool",
                "Wrong type at items[1].price: expected float, got str",
                "Missing key: customer.address.zip",
            ]
        },
    }


def test_async_action() -> None:
    provider = spec_provider()

    async def some_async_operation(param: str) -> str:
        await asyncio.sleep(0)
        return param.upper()

    @provider.actions.register(name="async_action", description="Async action example", payload_schema={"param": str})
    async def async_action(payload: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006 - as written there
        result = await some_async_operation(payload["param"])
        return {"result": result}

    assert ask(provider, "async_action", {"param": "x"})["data"] == {"result": "X"}


def test_action_without_rate_limits_on_a_module_level_provider() -> None:
    class CustomRateLimitMonitor(RateLimitMonitor):
        def check_rate_limits(self) -> dict[str, Any]:
            return {"rate_limited": True, "wait_time": 5.5, "timezone": "UTC"}

    provider = Provider(
        name="my-provider",
        auth_token="my-token",
        hub_url="hub-grpc:50051",
        rate_limit_monitor=CustomRateLimitMonitor(),
    )

    @provider.actions.register(
        name="unlimited_action",
        description="Action without rate limits",
        payload_schema={"param": str},
        rate_limit_monitor=NoRateLimitMonitor(),
    )
    def unlimited_action(param: str) -> dict[str, Any]:
        return {"result": "success"}

    @provider.actions.register(name="limited_action", description="Action with rate limiting")
    def limited_action(payload: dict[str, Any]) -> dict[str, Any]:
        return {"result": "success"}

    assert ask(provider, "unlimited_action", {"param": "x"})["data"] == {"result": "success"}
    assert ask(provider, "limited_action") == {
        "status": "limit",
        "message": "Rate limit exceeded. Please wait 5.5 seconds",
        "data": {"wait_time": 5.5, "timezone": "UTC"},
    }


def test_a_response_object_from_an_action() -> None:
    provider = spec_provider()

    @provider.actions.register(
        name="call_external_api",
        description="Call external API with rate limiting",
        payload_schema={"endpoint": str, "params": dict},
    )
    def call_external_api(payload: dict[str, Any]) -> ProviderResponse:
        try:
            return ProviderResponse(status="success", data={"price": payload["params"]["price"]})
        except Exception as exc:
            return ProviderResponse(status="error", message=str(exc))

    assert ask(provider, "call_external_api", {"endpoint": "/", "params": {"price": 2}}) == {
        "status": "success",
        "data": {"price": 2},
    }
    assert ask(provider, "call_external_api", {"endpoint": "/", "params": {}}) == {
        "status": "error",
        "message": "'price'",
    }


def test_methods_are_actions_and_no_name_is_taken_twice() -> None:
    class Desk(Provider):
        def __init__(self) -> None:
            super().__init__(name="desk")

        @action(name="quote", description="A price", payload_schema={"pair": str})
        def quote(self, pair: str) -> dict[str, str]:
            return {"pair": pair, "by": self.name}

    assert ask(Desk(), "quote", {"pair": "EURUSD"})["data"] == {"pair": "EURUSD", "by": "desk"}
    with pytest.raises(DuplicateActionError):
        Desk().actions.register(name="quote")(lambda: None)


# --- Writing Actions --------------------------------------------------------------------------------------------


class WritingActions(Provider):
    def __init__(self, logger: Any = None) -> None:
        super().__init__(name="writing", auth_token="your-auth-token", logger=logger)

        @self.actions.register(name="ping", description="Simple ping action")
        def ping() -> dict[str, Any]:
            return {"result": "pong"}

        @self.actions.register(name="echo", description="Echoes the payload", payload_schema={"message": str})
        def echo(payload, logger):  # type: ignore[no-untyped-def] # as written there
            logger.info(f"Payload: {payload}")
            return {"result": payload["message"]}

        @self.actions.register(name="flexible_action", description="Accepts any parameters")
        def flexible_action(payload, **kwargs):  # type: ignore[no-untyped-def] # as written there
            logger = kwargs.get("logger")
            if logger:
                logger.info(f"Payload: {payload}")
            return {"received": payload}

        @self.actions.register(name="catch_all", description="Catches all parameters")
        def catch_all(**kwargs):  # type: ignore[no-untyped-def] # as written there
            return {"all_params": kwargs}


class Notes:
    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str) -> None:
        self.events.append(event)


def test_example_1_no_parameters() -> None:
    assert ask(WritingActions(), "ping") == {"status": "success", "data": {"result": "pong"}}


def test_example_2_explicit_parameters() -> None:
    notes = Notes()
    assert ask(WritingActions(notes), "echo", {"message": "hi"})["data"] == {"result": "hi"}
    assert notes.events == ["Payload: {'message': 'hi'}"]


def test_example_3_payload_and_the_rest() -> None:
    notes = Notes()
    assert ask(WritingActions(notes), "flexible_action", {"any": 1})["data"] == {"received": {"any": 1}}
    assert notes.events == ["Payload: {'any': 1}"]


def test_example_4_everything_and_with_the_real_logger() -> None:
    response = ask(WritingActions(), "catch_all", {"any": 1}, {"api_key": "k"})
    assert response["data"]["all_params"] == {
        "payload": {"any": 1},
        "account": {"api_key": "k"},
        "logger": "<logger writing>",
        "provider": {"name": "writing"},
        "timezone": "UTC",
        "now": "2024-03-20T12:00:00Z",
        "now_utc": "2024-03-20T12:00:00Z",
        "task": {
            "id": "task-1",
            "action": "catch_all",
            "deadline": 1.0,
            "traceparent": "",
            "tracestate": "",
            "attempt": 1,
        },
        "any": 1,
    }


def test_example_4_holds_no_token() -> None:
    assert "your-auth-token" not in json.dumps(ask(WritingActions(), "catch_all"))


# --- Nested Schema Validation -----------------------------------------------------------------------------------


class Profiles(Provider):
    def __init__(self) -> None:
        super().__init__(name="profiles")

        @self.actions.register(
            name="create_user_profile",
            description="Create a user profile with nested settings and preferences",
            payload_schema={
                "username": str,
                "profile": {
                    "first_name": str,
                    "last_name": str,
                    "settings": {"theme": str, "notifications": {"email": bool, "sms": bool}},
                },
                "tags": [str],
            },
            account_schema={"api_key": str, "permissions": {"admin": bool, "scopes": [str]}},
        )
        def create_user_profile(payload: dict[str, Any], account: dict[str, Any]) -> dict[str, Any]:
            return {"status": "success"}


def profile() -> dict[str, Any]:
    return {
        "username": "u",
        "profile": {
            "first_name": "f",
            "last_name": "l",
            "settings": {"theme": "dark", "notifications": {"email": True, "sms": False}},
        },
        "tags": ["a", "b"],
    }


ACCOUNT = {"api_key": "k", "permissions": {"admin": False, "scopes": ["read"]}}


def test_a_nested_payload_that_fits() -> None:
    assert ask(Profiles(), "create_user_profile", profile(), ACCOUNT) == {"status": "success"}


def test_the_example_error_output() -> None:
    payload = profile()
    del payload["profile"]["settings"]["notifications"]["sms"]
    assert ask(Profiles(), "create_user_profile", payload, ACCOUNT) == {
        "status": "error",
        "message": "Payload validation failed",
        "data": {"errors": ["Missing key: profile.settings.notifications.sms"]},
    }


def test_every_item_of_a_list_is_checked() -> None:
    payload = profile() | {"tags": ["a", 2, None]}
    assert ask(Profiles(), "create_user_profile", payload, ACCOUNT)["data"] == {
        "errors": ["Wrong type at tags[1]: expected str, got int", "Wrong type at tags[2]: expected str, got None"]
    }


def test_an_account_that_does_not_fit() -> None:
    account = {"api_key": "k", "permissions": {"admin": "yes", "scopes": ["read"]}}
    assert ask(Profiles(), "create_user_profile", profile(), account) == {
        "status": "error",
        "message": "Account validation failed",
        "data": {"errors": ["Wrong type at permissions.admin: expected bool, got str"]},
    }


def test_an_account_that_is_missing() -> None:
    assert ask(Profiles(), "create_user_profile", profile()) == {
        "status": "error",
        "message": "Invalid account: Missing required parameters: api_key, permissions",
        "data": {
            "missing_params": ["api_key", "permissions"],
            "schema": {"api_key": "str", "permissions": {"admin": "bool", "scopes": ["str"]}},
            "errors": ["Missing key: api_key", "Missing key: permissions"],
        },
    }
