"""A look through all objects of the process runs no code of theirs: a proxy's ``__class__`` may raise, or warn."""

from __future__ import annotations

import random
from types import ModuleType

from arbd.worker.fork_safety import generators, places


class Pretender:
    """A proxy outside of its context, as web frameworks have."""

    asked = 0

    @property  # type: ignore[misc] # that is what it does
    def __class__(self) -> type:
        Pretender.asked += 1
        raise RuntimeError("working outside of context")

    def __init__(self) -> None:
        self.held: list[object] = []  # so that the collector knows of it


def test_none_is_asked_what_it_is() -> None:
    pretender = Pretender()
    generators._all_of((random.Random,))
    shop = ModuleType("shop")
    vars(shop)["request"] = pretender
    assert next(held.place for held in places.walk({"shop": shop})) == "shop.request"
    assert places.holders_of([1_000_000], {"shop": shop}, dict).descriptors == {}
    assert Pretender.asked == 0
    del pretender
