"""The place of a handler's own code is found below what is wrapped around it; what is no Python code has none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from arbd.author.source import source_of


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def plain(payload: Any) -> Any:
    return payload


async def waits(payload: Any) -> Any:
    return payload


class Callable_:
    def method(self, payload: Any) -> Any:
        return payload

    def __call__(self, payload: Any) -> Any:
        return payload


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("nobody looks at me")


def line_of(function: Any) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    ("handler", "function"),
    [
        (plain, plain),
        (waits, waits),
        (wrapping(wrapping(plain)), plain),
        (functools.partial(functools.partial(plain), 1), plain),
        (Callable_().method, Callable_.method),
        (Callable_(), Callable_.__call__),
        (wrapping(Callable_().method), Callable_.method),
    ],
)
def test_it_is_where_the_innermost_function_begins(handler: Any, function: Any) -> None:
    assert source_of(handler) == line_of(function)


@pytest.mark.parametrize("handler", [len, print, [].append, int, None])
def test_what_has_no_python_code_has_none(handler: Any) -> None:
    assert source_of(handler) == ""


def test_one_that_raises_when_it_is_looked_at_has_none() -> None:
    assert source_of(Hostile()) == ""


def test_what_wraps_itself_ends() -> None:
    def around(payload: Any) -> Any:
        return payload

    around.__wrapped__ = around  # type: ignore[attr-defined] # as functools.wraps sets it
    assert source_of(around) == line_of(around)
