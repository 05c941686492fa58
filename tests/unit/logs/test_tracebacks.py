"""Tracebacks begin with the author's code; those of arbd's own faults are whole."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arbd.errors import RegistrationError
from arbd.interrupts import call
from arbd.logs.tracebacks import authors_part, exc_info_of
from arbd.worker.execute import execute


def files(exc: BaseException) -> list[str]:
    return [Path(frame.filename).name for frame in traceback.extract_tb(exc_info_of(exc)[2])]


def raised(function: Callable[..., Any], *args: Any) -> BaseException:
    """What a function of arbd's raises, without the frame of this one, as nobody above arbd has one."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        function(*args)
    exc = caught.value
    assert exc.__traceback__ is not None
    exc.__traceback__ = exc.__traceback__.tb_next
    return exc


def fail() -> None:
    raise ValueError("no")


def test_frames_of_the_caller_are_left_out() -> None:
    def through_arbd() -> None:
        call(call, (fail,))

    exc = raised(call, through_arbd)
    whole = exc.__traceback__
    # What the author's code calls is shown.
    assert files(exc) == ["test_tracebacks.py", "interrupts.py", "interrupts.py", "test_tracebacks.py"]
    assert exc.__traceback__ is whole


def test_a_module_that_fails_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_fails.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert files(raised(call, importlib.import_module, ("module_that_fails",))) == ["module_that_fails.py"]


def test_a_fault_of_arbds_own_is_shown_whole() -> None:
    exc = raised(execute, None, None, 0.0)
    assert authors_part(exc.__traceback__) is exc.__traceback__


def test_an_exception_that_was_never_raised() -> None:
    error = RegistrationError("no")
    assert exc_info_of(error) == (RegistrationError, error, None)
