"""A command goes first where it may, and runs on where it may not."""

from __future__ import annotations

import os

import pytest

from arbd.host import priority


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    asked: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda _which, _who, niceness: asked.append(niceness))
    return asked


@pytest.mark.parametrize(("niceness", "expected"), [(0, -10), (19, -10), (-15, -15)])
def test_it_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, asked: list[int], niceness: int, expected: int
) -> None:
    monkeypatch.setattr(os, "getpriority", lambda _which, _who: niceness)
    priority.raise_own()
    assert asked == [expected]


def test_who_may_not_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuses)
    priority.raise_own()
