"""torch is seeded with all that its build can have: cards too, unless it is built without."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from arbd.worker.reseed import reseed_all


def torch(seeded: list[str], **version: str | None) -> SimpleNamespace:
    return SimpleNamespace(
        version=SimpleNamespace(**version),
        manual_seed=lambda seed: seeded.append("all"),
        default_generator=SimpleNamespace(manual_seed=lambda seed: seeded.append("CPU")),
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"cuda": None, "hip": None, "xpu": None}, ["CPU"]),
        ({"cuda": None}, ["CPU"]),
        ({"cuda": "13.0", "hip": None}, ["all"]),
        ({"cuda": None, "hip": "6.2"}, ["all"]),
        ({"cuda": None, "hip": None, "xpu": "2025.1"}, ["all"]),
    ],
)
def test_cards_are_seeded_where_there_can_be_some(
    monkeypatch: pytest.MonkeyPatch, version: dict[str, str | None], expected: list[str]
) -> None:
    seeded: list[str] = []
    monkeypatch.setitem(sys.modules, "torch", torch(seeded, **version))
    reseed_all()
    assert seeded == expected


def test_one_that_is_made_in_another_way_is_seeded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(manual_seed=seeded.append))
    reseed_all()
    assert len(seeded) == 1


def test_half_imported_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    reseed_all()
