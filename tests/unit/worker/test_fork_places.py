"""The name that leads to an object is found, some steps below a module; nothing of the author's is changed by it."""

from __future__ import annotations

import asyncio
import functools
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from arbd.worker.fork_safety import places


def module(**names: Any) -> dict[str, ModuleType]:
    made = ModuleType("shop")
    vars(made).update(names)
    for value in names.values():
        if isinstance(value, (type, FunctionType)):
            value.__module__ = "shop"
    return {"shop": made}


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


class Pool:
    def __init__(self, held: Any) -> None:
        self.connections = [{"idle": (held,)}]


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, held: Any) -> None:
        self.inner = held


def cached(held: Any) -> Callable[[], Any]:
    @functools.cache
    def get() -> Any:
        return held

    get()
    return get


def closure(held: Any) -> Callable[[], Any]:
    def get() -> Any:
        return held

    return get


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda s: s, "shop.found"),
        (lambda s: [s], "shop.found"),
        (lambda s: {"a": {"b": s}}, "shop.found"),
        (Pool, "shop.found.connections"),
        (Slotted, "shop.found"),
        (lambda s: type("Client", (), {"sock": s}), "shop.found.sock"),
        (cached, "shop.found"),
        (closure, "shop.found"),
        (lambda s: functools.partial(print, s), "shop.found"),
        (lambda s: s.makefile("rb"), "shop.found"),
        (lambda s: Pool(s).connections.copy, "shop.found"),
    ],
)
def test_where_a_socket_is_held(sock: socket.socket, make: Callable[[Any], Any], place: str) -> None:
    held = make(sock)
    found = places.holders_of([sock.fileno()], module(found=held), dict)
    assert found.descriptors[sock.fileno()].startswith(place)
    assert sock.fileno() >= 0


def test_other_modules_are_searched_after_those_of_the_author(sock: socket.socket) -> None:
    other = ModuleType("library")
    vars(other)["default"] = Pool(sock)
    found = places.holders_of([sock.fileno()], module(), lambda: {"library": other})
    assert found.descriptors == {sock.fileno(): "library.default.connections"}
    nowhere = places.holders_of([sock.fileno()], module(), dict)
    assert nowhere.descriptors == {}


def test_the_way_does_not_lead_through_modules_and_their_classes(sock: socket.socket) -> None:
    other = ModuleType("library")
    vars(other)["held"] = sock
    strange = type("Strange", (), {"sock": sock})
    found = module(library=other)
    vars(found["shop"])["Strange"] = strange  # of another module
    assert places.holders_of([sock.fileno()], found, dict).descriptors == {}


def test_a_walk_has_an_end() -> None:
    circle: list[Any] = [[object() for _ in range(1000)]]
    circle.append(circle)
    assert len(list(places.walk(module(circle=circle)))) == 1002
    assert len(list(places.walk(module(circle=circle), most=100))) == 100
    assert len(list(places.walk(module(deep=[[[[[]]]]]), depth=2))) == 3


class TestNumbers:
    def test_of_what_has_one(self, sock: socket.socket) -> None:
        assert places.number_of(sock) == sock.fileno()
        with tempfile.TemporaryFile() as file:
            assert places.number_of(file) == file.fileno()
        assert places.number_of(file) == -1  # closed

    @pytest.mark.parametrize("value", [1, "text", None, socket.socket, object()])
    def test_of_what_has_none(self, value: Any) -> None:
        assert places.number_of(value) == -1

    def test_what_makes_itself_at_first_use_is_not_asked(self) -> None:
        class Lazy:
            def __getattr__(self, name: str) -> Any:
                raise AssertionError(f"{name} was asked for")

        assert places.number_of(Lazy()) == -1
        assert list(places.walk(module(lazy=Lazy())))

    @pytest.mark.parametrize("answer", ["7", None, True])
    def test_an_answer_that_is_no_number(self, answer: Any) -> None:
        class Odd:
            def fileno(self) -> Any:
                return answer

        assert places.number_of(Odd()) == -1


def test_event_loops_and_what_they_have() -> None:
    loop, closed = asyncio.new_event_loop(), asyncio.new_event_loop()
    closed.close()
    number = loop._selector.fileno()  # type: ignore[attr-defined] # what is looked for
    found = places.holders_of([number], module(held=[loop], closed=closed), dict)
    assert (found.loops, found.descriptors[number], found.native) == (["shop.held"], "shop.held", [])
    loop.close()


def test_a_loop_in_c_is_told_as_such() -> None:
    """Its descriptors are not to be seen."""
    loop_in_c: Any = type("LoopInC", (asyncio.AbstractEventLoop,), {"is_closed": lambda _: False})
    found = places.holders_of([999], module(loop=loop_in_c()), dict)
    assert (found.loops, found.native) == (["shop.loop"], ["shop.loop"])


class TestTheCurrentLoop:
    def test_it_is_looked_at_without_making_one(self) -> None:
        assert places.current_loop() is None

    def test_it_is_told_where_no_name_leads_to_it(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            assert places.current_loop() is loop
            number = loop._selector.fileno()  # type: ignore[attr-defined] # as above
            found = places.holders_of([number], module(), dict)
            assert found.descriptors[number] == "asyncio.get_event_loop()"
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class TestSqlite:
    def test_the_file_of_a_connection(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "x.db")
        connection.row_factory = lambda *_: "mine"
        assert places.files_of_sqlite(connection) == [str(tmp_path / "x.db")]
        found = places.holders_of([999], module(store=connection), dict)
        assert found.databases == {str(tmp_path / "x.db"): "shop.store"}
        connection.close()
        assert places.files_of_sqlite(connection) == []

    def test_one_in_memory_has_none(self) -> None:
        connection = sqlite3.connect(":memory:")
        assert places.files_of_sqlite(connection) == []
        connection.close()
