"""Generators that the author has made are found by name; numpy's without a seed get a state of their own, in place."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from arbd.worker import target
from arbd.worker.fork_safety import generators
from arbd.worker.fork_safety.generators import Generators


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A module of the author's."""
    made = ModuleType("shop")
    made.__file__ = str(tmp_path / "shop.py")
    monkeypatch.setattr(target, "author_modules", lambda: {"shop": made})
    return made


@pytest.mark.parametrize(
    ("made", "unseeded"),
    [
        (np.random.default_rng(), True),
        (np.random.default_rng(42), False),
        (np.random.default_rng([1, 2]), False),
        (np.random.RandomState(), True),
        (np.random.RandomState(42), False),
        (np.random.Generator(np.random.Philox(7)), False),
        (np.random.SFC64(), True),
    ],
)
def test_whether_a_seed_was_given(made: Any, unseeded: bool) -> None:
    assert generators.is_unseeded(generators.state_of(made)) is unseeded


def test_names(shop: ModuleType) -> None:
    class Model:
        rng = np.random.RandomState(5)

    Model.__module__ = "shop"
    vars(shop).update(
        fresh=np.random.default_rng(), seeded=np.random.default_rng(1), dice=random.Random(2), Model=Model,
        listed=[np.random.PCG64(3)], system=random.SystemRandom(), number=3, np=np, whole=random,
    )  # fmt: skip # one below the other they take nine lines
    found = generators.look()
    assert found.renewed == ["shop.fresh (numpy Generator)"]
    assert found.same == [
        "shop.seeded (numpy Generator)",
        "shop.dice (random.Random)",
        "shop.Model.rng (numpy RandomState)",
        "shop.listed (numpy PCG64)",
    ]


def test_those_that_are_global_are_not_the_author_s(shop: ModuleType) -> None:
    vars(shop).update(state=np.random.mtrand._rand, python=random._inst)
    assert generators.look().same == generators.look().renewed == []


def test_torch_s(shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch")
    kind = type("Generator", (), {"__module__": "torch._C"})
    vars(torch).update(Generator=kind, default_generator=kind())
    monkeypatch.setitem(sys.modules, "torch", torch)
    vars(shop).update(own=kind(), default=torch.default_generator)
    assert generators.look().same == ["shop.own (torch._C.Generator)"]


def entropy_of(rng: Any) -> Any:
    return rng.bit_generator.seed_seq.entropy


def test_a_new_state_in_place() -> None:
    rng = np.random.default_rng()
    twin = np.random.Generator(type(rng.bit_generator)())
    twin.bit_generator.state = rng.bit_generator.state
    before = entropy_of(rng)
    generators.renew([generators.state_of(rng)])
    assert rng.random() != twin.random()
    if isinstance(
        rng.bit_generator.__getstate__(), tuple
    ):  # numpy 2: the state has what ``spawn`` makes generators from
        assert entropy_of(rng) != before


class TestTold:
    found = Generators([], ["a (numpy Generator)"], ["b (random.Random)"])

    def test_forked(self) -> None:
        [told] = generators.told(self.found, by_exec=False)
        assert (told.kind, told.by_exec) == ("generators", False)
        assert told.found == [
            "b (random.Random): may give the same numbers in every worker",
            "a (numpy Generator): given a new state in each worker",
        ]

    def test_started_by_exec(self) -> None:
        [told] = generators.told(self.found, by_exec=True)
        assert len(told.found) == 1

    def test_none(self) -> None:
        assert generators.told(Generators([], [], []), by_exec=False) == []
        assert generators.told(Generators([], ["a"], []), by_exec=True) == []

    def test_many(self) -> None:
        [told] = generators.told(Generators([], [], [f"g{n}" for n in range(50)]), by_exec=False)
        assert (len(told.found), told.found[-1]) == (21, "and 30 more")
