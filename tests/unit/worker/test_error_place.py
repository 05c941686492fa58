"""The place of an exception is the innermost line of the author's own code, with no path of the machine in it."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbd.worker import error_place

SOURCE = """
import json

def plain():
    raise ValueError("no")

def deeper():
    plain()

def in_library():
    json.loads("{")

def chained():
    try:
        plain()
    except ValueError as error:
        raise RuntimeError("outer") from error

def group():
    found = []
    for each in (in_library, plain):
        try:
            each()
        except Exception as error:
            found.append(error)
    raise ExceptionGroup("two", found)

def made_here():
    exec(compile("raise KeyError(1)", "<string>", "exec"))
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    directory = tmp_path / "secret_place"
    (directory / "pkg").mkdir(parents=True)
    file = directory / "pkg" / "app.py"
    file.write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(directory))
    module = types.ModuleType("pkg.app")
    exec(compile(SOURCE, str(file), "exec"), vars(module))
    return module


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("name", "line"),
    [("plain", 5), ("deeper", 5), ("in_library", 11), ("chained", 17), ("group", 11), ("made_here", 29)],
)
def test_the_innermost_line_of_the_author(app: types.ModuleType, name: str, line: int) -> None:
    assert error_place.place_of(caught(getattr(app, name))) == f"pkg/app.py:{line}"


def test_a_file_that_is_imported_from_nowhere_has_its_name_alone(
    app: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["", "/", None, "/nowhere"])
    assert error_place.place_of(caught(app.plain)) == "app.py:5"


def test_an_installed_provider_is_told_by_its_package(tmp_path: Path) -> None:
    module = types.ModuleType("shop.prices")
    code = compile(SOURCE, str(tmp_path / "lib" / "site-packages" / "shop" / "prices.py"), "exec")
    exec(code, vars(module))
    vars(module)["__name__"] = "shop.prices"
    error = caught(module.in_library)
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without the frame of this test, which is an author's
    assert error_place.place_of(error, "shop") == "prices.py:11"
    assert error_place.place_of(error, "another") == ""


def test_without_a_line_of_the_authors_there_is_none() -> None:
    assert error_place.place_of(ValueError("made, and never raised")) == ""


def test_what_has_no_place_is_told_by_what_it_came_from(app: types.ModuleType) -> None:
    error = ValueError("never raised")
    error.__cause__ = caught(app.plain)
    assert error_place.place_of(error) == "pkg/app.py:5"


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one
    assert error_place.place_of(one) == ""


def test_a_circle_through_a_group_ends() -> None:
    member = ValueError("member")
    group = ExceptionGroup("group", [member, ExceptionGroup("inner", [member])])
    member.__cause__ = group
    assert error_place.place_of(group) == ""


def test_an_exception_with_attributes_of_its_own_is_looked_at_all_the_same(app: types.ModuleType) -> None:
    class LiarError(Exception):
        @property
        def __cause__(self) -> None:  # type: ignore[override] # an author may do that
            raise RuntimeError("asked")

        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

    def lie() -> None:
        raise LiarError

    code = lie.__code__.replace(co_filename=str(Path(sys.path[0]) / "pkg" / "app.py"))
    error = caught(types.FunctionType(code, {}, "lie", None, lie.__closure__))
    assert error_place.place_of(error).startswith("pkg/app.py:")


def test_a_recursion_without_end_has_its_last_line(app: types.ModuleType) -> None:
    source = "def again():\n    again()\n"
    namespace: dict[str, Callable[[], object]] = {}
    exec(compile(source, str(Path(sys.path[0]) / "deep.py"), "exec"), namespace)
    assert error_place.place_of(caught(namespace["again"])) == "deep.py:2"


def test_a_name_that_is_no_text_is_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    namespace: dict[str, Callable[[], object]] = {}
    exec(compile("def fail():\n    raise ValueError\n", str(tmp_path / "a\udc80.py"), "exec"), namespace)
    assert error_place.place_of(caught(namespace["fail"])) == "a\\udc80.py:2"


@pytest.mark.parametrize(
    ("handler", "package"), [(json.loads, "json"), (object(), ""), (types.SimpleNamespace(__module__=3), "")]
)
def test_the_package_of_a_handler(handler: object, package: str) -> None:
    assert error_place.package_of(handler) == package
