"""The examples an author copies do what their docstrings say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from arbd import Provider
from arbd.examples import order, quickstart
from arbd.model.task import Task
from arbd.worker.execute import Context, execute

ORDER = {
    "order_id": "A-1",
    "currency": "EUR",
    "items": [{"product_id": "tea", "quantity": 2, "price": 4.5}],
    "customer": {"name": "Ada", "address": {"city": "Riga", "zip": "LV-1010"}},
}


def respond(provider: Provider, action: str, payload: dict[str, Any]) -> dict[str, Any]:
    def run_async(*_: object) -> None:
        raise AssertionError("no action here is async")

    context = Context(provider, utc_now=lambda: datetime.now(UTC), run_async=run_async)
    _, encoded = execute(context, Task("t1", action, msgspec.json.encode(payload)), deadline=0.0)
    response: dict[str, Any] = msgspec.json.decode(encoded)
    return response


def test_quickstart_greets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVIDER_NAME", raising=False)
    provider = quickstart.QuickstartProvider()
    assert provider.name == "quickstart"
    assert respond(provider, "greet", {"name": "Ada", "times": 2}) == {
        "status": "success",
        "data": {"greetings": ["Hello, Ada!", "Hello, Ada!"]},
    }


def test_quickstart_takes_its_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_NAME", "mine")
    monkeypatch.setenv("TASK_EXECUTION_TIMEOUT", "0.5")
    provider = quickstart.QuickstartProvider()
    assert (provider.name, provider.execution_timeout) == ("mine", 0.5)


def test_quickstart_names_what_is_missing() -> None:
    response = respond(quickstart.QuickstartProvider(), "greet", {})
    assert response["message"] == "Invalid payload: Missing required parameters: name, times"


def test_order_is_added_up() -> None:
    response = respond(order.provider, "price_order", ORDER)
    assert response == {"status": "success", "data": {"order_id": "A-1", "total": 9.0, "currency": "EUR"}}


def test_every_tenth_piece_is_free() -> None:
    items = [{"product_id": "tea", "quantity": 21, "price": 1}, {"product_id": "cup", "quantity": 9, "price": 2}]
    assert respond(order.provider, "price_order", ORDER | {"items": items})["data"]["total"] == 37.0


def test_everything_wrong_in_an_order_is_reported_at_once() -> None:
    bad = ORDER | {
        "items": [{"product_id": "tea", "quantity": "two", "price": 4.5}],
        "customer": {"name": "Ada", "address": {"city": "Riga"}},
    }
    response = respond(order.provider, "price_order", bad)
    assert response["message"] == "Payload validation failed"
    wrong, missing = sorted(response["data"]["errors"], reverse=True)
    assert "items[0].quantity" in wrong
    assert missing == "Missing key: customer.address.zip"


def test_handler_refuses_with_data_of_its_own() -> None:
    items = [{"product_id": "unicorn", "quantity": 1, "price": 1.0}]
    response = respond(order.provider, "price_order", ORDER | {"items": items})
    assert response["message"] == "Order A-1 asks for products that are out of stock"
    assert response["data"] == {"error_type": "OutOfStockError", "products": ["unicorn"]}
