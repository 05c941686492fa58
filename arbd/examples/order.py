"""A nested schema: every level is checked before the handler runs, and all that is wrong is listed at once.

    arbd dev arbd.examples.order
    arbd submit price_order --wait --payload '{"order_id": "A-1", "currency": "EUR",
        "items": [{"product_id": "tea", "quantity": 2, "price": 4.5}],
        "customer": {"name": "Ada", "address": {"city": "Riga", "zip": "LV-1010"}}}'

Leave out ``customer.address.zip`` and send ``"quantity": "two"`` to see both reported, each with its path.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from arbd import Provider, ProviderError

provider = Provider(name="orders")


class OutOfStockError(ProviderError):
    """Raised by a handler: the caller gets its message, and its ``data`` beside the error's name."""


@provider.actions.register(
    name="price_order",
    description="Add up an order; every tenth piece of a product is free",
    payload_schema={
        "order_id": str,
        "currency": Literal["EUR", "USD"],
        "items": [
            {
                "product_id": str,
                "quantity": Annotated[int, msgspec.Meta(ge=1)],
                "price": float,
            }
        ],
        "customer": {
            "name": str,
            "email": str | None,
            "address": {"city": str, "zip": str},
        },
    },
    timeout=0.25,
)
def price_order(order_id: str, items: list[dict[str, Any]], currency: str) -> dict[str, Any]:
    """The price of an order. Only the keys that the handler names are passed to it; the rest was checked, too."""
    sold_out = [item["product_id"] for item in items if item["product_id"] == "unicorn"]
    if sold_out:
        raise OutOfStockError(f"Order {order_id} asks for products that are out of stock", {"products": sold_out})
    total = sum((item["quantity"] - item["quantity"] // 10) * item["price"] for item in items)
    return {"order_id": order_id, "total": round(total, 2), "currency": currency}
