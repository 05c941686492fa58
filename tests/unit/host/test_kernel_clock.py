"""The state of the clock is read, and nothing is said where nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.host import kernel_clock


def test_the_kernel_says_how_its_clock_is() -> None:
    state = kernel_clock.state()
    assert state is None or state.may_be_off_s >= 0


def test_where_the_call_is_forbidden_or_missing_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        @staticmethod
        def adjtimex(_: object) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Forbidden)
    assert kernel_clock.state() is None
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    assert kernel_clock.state() is None


def test_an_error_of_the_clock_is_one_that_nobody_keeps_right(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drifting:
        @staticmethod
        def adjtimex(_: object) -> int:
            return 5

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Drifting)
    assert kernel_clock.state() == kernel_clock.ClockState(False, 0.0)


def test_what_time_is_counted_by(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_text("tsc\n")
    assert kernel_clock.source(file) == "tsc"
    assert kernel_clock.source(tmp_path / "gone") == ""
