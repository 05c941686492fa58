"""A line of progress is for people at a terminal; a log stays as it is."""

from __future__ import annotations

import pytest

from arbd.cli._progress import ProgressLine


def test_it_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(2, "tasks", shows_rate=True) as line:
        line.advance()
        line.begin("the second")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_on_a_terminal_it_counts_and_says_what_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressLine(3) as line:
        line.begin("[first]")
        line.begin("[second]")
    assert "1/3" in (shown := capsys.readouterr().err)
    assert "[second]" in shown
