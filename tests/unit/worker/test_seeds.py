"""What is global is seeded from the system in each worker, or keeps the author's seed; a failure costs no worker."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy.random
import pytest

from arbd import logs
from arbd.worker.reseed import Seeds, reseed_all

NUMPY: Any = numpy.random  # whose types do not know all of it


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    python, of_numpy, state = random.getstate(), NUMPY.get_bit_generator(), NUMPY.get_state()
    yield
    random.setstate(python)
    NUMPY.set_bit_generator(of_numpy)
    NUMPY.set_state(state)


def draw() -> tuple[float, float]:
    return random.random(), float(NUMPY.random())


def seed() -> None:
    random.seed(1)
    NUMPY.seed(1)


def test_numbers_of_its_own() -> None:
    seed()
    expected = draw()
    seed()
    reseed_all()
    first = draw()
    seed()
    reseed_all()
    assert len({expected[0], first[0], draw()[0]}) == 3
    seed()
    reseed_all()
    assert len({expected[1], first[1], draw()[1]}) == 3


def test_another_bit_generator_is_renewed() -> None:
    NUMPY.set_bit_generator(NUMPY.PCG64(7))
    reseed_all()
    first = NUMPY.random()
    NUMPY.set_bit_generator(NUMPY.PCG64(7))
    assert first != NUMPY.random()


class TestFork:
    def test_the_author_s_seed_is_kept_where_that_is_wanted(self) -> None:
        seed()
        seeds = Seeds()
        expected = draw()
        seed()
        random.seed()  # as Python does in a forked child
        seeds.enter_fork(reseed=False)
        assert draw() == expected

    def test_else_all_is_new(self) -> None:
        rng = NUMPY.default_rng()
        state = rng.bit_generator.state
        seeds = Seeds([rng.bit_generator])
        seeds.enter_fork(reseed=True)
        assert rng.bit_generator.state != state


class TestTorch:
    def test_it_is_seeded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch, seeds = ModuleType("torch"), list[int]()
        vars(torch)["manual_seed"] = seeds.append
        monkeypatch.setitem(sys.modules, "torch", torch)
        reseed_all()
        reseed_all()
        assert len(set(seeds)) == 2
        assert all(0 <= each < 2**63 for each in seeds)

    def test_one_whose_import_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
        monkeypatch.setitem(sys.modules, "numpy.random", ModuleType("numpy.random"))
        reseed_all()

    def test_a_failure_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: int) -> None:
            raise RuntimeError("another release")

        torch, told = ModuleType("torch"), list[dict[str, Any]]()
        vars(torch)["manual_seed"] = fail
        monkeypatch.setitem(sys.modules, "torch", torch)

        class Log:
            def warning(self, event: str, **fields: Any) -> None:
                told.append({"event": event, **fields})

        monkeypatch.setattr(logs, "get_logger", lambda _: Log())
        reseed_all()
        assert told == [{"event": "not_reseeded", "library": "torch", "reason": "RuntimeError: another release"}]


def test_without_numpy_only_python_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy.random")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    before = NUMPY.get_state()[1].copy()
    reseed_all()
    assert (NUMPY.get_state()[1] == before).all()
