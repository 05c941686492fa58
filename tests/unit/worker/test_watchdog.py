"""A watchdog calls when its block takes too long, with the step under way, and not otherwise."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from arbd.worker.watchdog import Watchdog


def test_a_block_that_ends_in_time_is_nothing() -> None:
    late: list[str] = []
    before = threading.active_count()
    with Watchdog(60, late.append):  # type: ignore[arg-type] # a real one never returns
        pass
    assert (late, threading.active_count()) == ([], before)


def test_one_that_does_not_is_told_with_its_step() -> None:
    called = threading.Event()
    late: list[str] = []

    def on_late(step: str) -> Any:
        late.append(step)
        called.set()

    with Watchdog(0.01, on_late) as watchdog:
        watchdog.step = "atexit"
        assert called.wait(10)
    assert late == ["atexit"]


def test_without_a_thread_to_be_had_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", cannot)
    with Watchdog(0.0, lambda _: None):  # type: ignore[arg-type,return-value] # a real one never returns
        pass
    assert json.loads(capsys.readouterr().err)["event"] == "no_watchdog"
