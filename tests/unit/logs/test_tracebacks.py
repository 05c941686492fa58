"""Tracebacks begin with the author's code; those of arbd's own faults are whole."""

from __future__ import annotations

import importlib
import threading
import traceback
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
import uvloop

from arbd.errors import RegistrationError
from arbd.interrupts import call
from arbd.logs.tracebacks import authors_part, exc_info_of, place_of, text_of
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


def raised_from_arbd() -> BaseException:
    """What an author's code raises while it handles what came to it out of arbd's."""

    def inner() -> None:
        call(fail)

    def outer() -> None:
        try:
            call(inner)
        except ValueError as exc:
            raise LookupError("no") from exc

    return raised(call, outer)


def begins(text: str) -> list[str]:
    """The file of the first frame of each traceback in a text."""
    lines = text.splitlines()
    firsts = [lines[n + 1] for n, line in enumerate(lines) if line.strip("+ |") == "Traceback (most recent call last):"]
    return [Path(line.split('"')[1]).name for line in firsts]


def test_each_traceback_of_a_chain_begins_with_the_authors_code() -> None:
    exc = raised_from_arbd()
    cause = exc.__cause__
    assert cause is not None
    cause.__traceback__ = cause.__traceback__ and cause.__traceback__.tb_next  # as if arbd had caught it
    assert begins(text_of(exc_info_of(exc))) == ["test_tracebacks.py", "test_tracebacks.py"]


def test_a_group_and_what_is_in_it() -> None:
    def many() -> None:
        raise BaseExceptionGroup("many", [raised(call, fail), ValueError("never raised")])

    text = text_of(exc_info_of(raised(call, many)))
    assert [line.split('"')[1] for line in text.splitlines() if "File " in line and "interrupts.py" in line] == []


def test_a_thread_and_a_coroutine_begin_with_the_authors_code(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[BaseException] = []
    monkeypatch.setattr("threading.excepthook", lambda args: caught.append(args.exc_value))
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with futures.ThreadPoolExecutor(1) as pool:
        caught.append(pool.submit(fail).exception() or ValueError())
    assert [files(exc) for exc in caught] == [["test_tracebacks.py"]] * 2


def test_a_coroutine_on_uvloop_begins_with_the_authors_code() -> None:
    async def main() -> None:
        fail()

    loop = uvloop.new_event_loop()
    try:
        assert files(raised(loop.run_until_complete, main())) == ["test_tracebacks.py"] * 2
    finally:
        loop.close()


def test_a_file_that_is_no_python_is_named_without_a_frame_of_arbds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_nonsense.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = text_of(exc_info_of(raised(call, importlib.import_module, ("module_of_nonsense",))))
    assert [line.split('"')[1] for line in text.splitlines() if "File " in line] == [
        str(tmp_path / "module_of_nonsense.py")
    ]


def test_where_it_was_raised() -> None:
    line = fail.__code__.co_firstlineno + 1
    assert place_of(raised(call, fail)) == f"test_tracebacks.py:{line}"
    assert place_of(ValueError()) == ""


def test_an_exception_that_cannot_be_shown() -> None:
    class Odd(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override] # that is the point
            raise RuntimeError("no")

    assert "cannot be shown" in text_of(exc_info_of(Odd()))
