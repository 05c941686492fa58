"""Tracebacks begin with the author's code; those of arbd's own faults are whole."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path

import pytest

from arbd.errors import RegistrationError
from arbd.interrupts import call
from arbd.logs.tracebacks import authors_part, exc_info_of
from arbd.worker.execute import execute


def files(exc: BaseException) -> list[str]:
    return [Path(frame.filename).name for frame in traceback.extract_tb(exc_info_of(exc)[2])]


def fail() -> None:
    raise ValueError("no")


def test_frames_of_the_caller_are_left_out() -> None:
    def through_arbd() -> None:
        call(call, (fail,))

    try:
        call(through_arbd)
    except ValueError as exc:
        whole = exc.__traceback__
        assert whole is not None
        exc.__traceback__ = whole.tb_next  # without this test's own frame, which no caller in arbd has
        assert files(exc)[0] == "test_tracebacks.py"
        assert files(exc)[-1] == "test_tracebacks.py"
        assert "interrupts.py" in files(exc)  # what the author's code calls is shown
        assert exc.__traceback__ is whole.tb_next


def test_a_module_that_fails_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_fails.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        call(importlib.import_module, ("module_that_fails",))
    except ZeroDivisionError as exc:
        assert exc.__traceback__ is not None
        exc.__traceback__ = exc.__traceback__.tb_next
        assert files(exc) == ["module_that_fails.py"]


def test_a_fault_of_arbds_own_is_shown_whole() -> None:
    try:
        execute(None, None, 0.0)  # type: ignore[arg-type] # that is the fault
    except BaseException as exc:
        assert exc.__traceback__ is not None
        inside = exc.__traceback__.tb_next
        assert inside is not None
        assert authors_part(inside) is inside


def test_an_exception_that_was_never_raised() -> None:
    error = RegistrationError("no")
    assert exc_info_of(error) == (RegistrationError, error, None)
