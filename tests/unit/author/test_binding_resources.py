"""A resource fills the parameter of its name, wherever that stands and whatever the payload and the defaults say."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import msgspec
import pytest

from arbd.author.binding import Binding, BindingContext, MissingParametersError, ResourceValues, bind
from arbd.errors import BindingError
from arbd.model.task import Task
from arbd.schema import compile_schema

TASK = Task("t-1", "act", b"{}", b"{}")
DEADLINE = 99.5


class Opening(ResourceValues):
    """Resources that are open, and others that are opened when they are needed."""

    def __init__(self, *opened: str) -> None:
        super().__init__({name: f"<{name}>" for name in opened})
        self.asked: list[tuple[str, float]] = []
        self.error: Exception | None = None

    def open(self, name: str, deadline: float) -> Any:
        self.asked.append((name, deadline))
        if self.error is not None:
            raise self.error
        self[name] = f"<{name}>"
        return self[name]


def binding_of(handler: Callable[..., Any], schema: object = None, resources: tuple[str, ...] = ("db", "pool")) -> Any:
    compiled = compile_schema(schema, where="payload_schema")
    found: Binding = bind(handler, compiled, where="action 'act'", resources=resources)
    return found


def called(handler: Callable[..., Any], payload: Any, schema: object = None, opened: Opening | None = None) -> Any:
    """What the handler returns for a payload, which must fit its schema."""
    decoded = compile_schema(schema, where="payload_schema").decode(msgspec.json.encode(payload))
    values = Opening("db", "pool") if opened is None else opened
    context = BindingContext("fx", "UTC", None, lambda: datetime(2024, 1, 1, tzinfo=UTC), values)
    return binding_of(handler, schema).prepare(context)(decoded, {}, TASK, DEADLINE)


@dataclass
class Order:
    a: int
    b: int = 2


@pytest.mark.parametrize("schema", [None, {"a": int, "b": int}, Order])
@pytest.mark.parametrize("names", [p for n in range(5) for p in permutations(("a", "b", "db", "pool"), n) if n])
def test_any_order(names: tuple[str, ...], schema: object) -> None:
    scope: dict[str, Any] = {}
    exec(f"def handler({', '.join(names)}): return [{', '.join(names)}]", scope)
    stolen = {"db": "stolen", "pool": "stolen"} if schema is None else {}
    expected = [{"a": 1, "b": 2, "db": "<db>", "pool": "<pool>"}[name] for name in names]
    assert called(scope["handler"], {"a": 1, "b": 2, **stolen}, schema) == expected


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda payload, db: (payload, db), ({"a": 1, "db": 0}, "<db>")),
        (lambda db, payload: (payload, db), ({"a": 1, "db": 0}, "<db>")),
        (lambda db, task: (db, task.id), ("<db>", "t-1")),
        (lambda *, db: db, "<db>"),
        (lambda db="mine": db, "<db>"),
        (lambda a, c=3, db="mine": (a, c, db), (1, 3, "<db>")),
        (lambda db, /, **rest: (db, rest["pool"], "db" in rest), ("<db>", "<pool>", False)),
    ],
)
def test_beside_other_values(handler: Callable[..., Any], expected: Any) -> None:
    assert called(handler, {"a": 1, "db": 0}) == expected


def test_var_keyword_gets_all_of_them_and_no_caller_replaces_one() -> None:
    given = called(lambda **kwargs: kwargs, {"db": 1, "pool": 2, "other": 3})
    assert (given["db"], given["pool"], given["other"]) == ("<db>", "<pool>", 3)


def test_what_a_partial_has_bound_stays() -> None:
    def handler(db: Any, pool: Any, **rest: Any) -> Any:
        return db, pool, rest.get("db"), rest.get("pool")

    assert called(functools.partial(handler, "mine"), {"db": 1}) == ("mine", "<pool>", None, None)
    assert called(functools.partial(handler, pool="mine"), {"pool": 1}) == ("<db>", "mine", None, None)


def test_methods_and_objects() -> None:
    class Handler:
        def __call__(self, db: Any) -> Any:
            return db

        def method(self, pool: Any) -> Any:
            return pool

    assert called(Handler(), {"db": 1}) == "<db>"
    assert called(Handler().method, {}) == "<pool>"


@pytest.mark.parametrize("handler", [lambda a, db: db, lambda a, *, db: db, lambda a, db, task: db])
def test_one_that_is_not_open_is_opened_within_the_deadline_once(handler: Callable[..., Any]) -> None:
    opened = Opening("pool")
    for _ in range(2):
        assert called(handler, {"a": 1}, {"a": int}, opened) == "<db>"
    assert opened.asked == [("db", DEADLINE)]


@pytest.mark.parametrize("handler", [lambda a, db: db, lambda a, *, db: db])
def test_what_opening_raises_is_raised_each_time(handler: Callable[..., Any]) -> None:
    opened = Opening()
    opened.error = ConnectionRefusedError("nobody listens")
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError) as caught:
            called(handler, {"a": 1}, {"a": int}, opened)
        assert caught.value.__context__ is None  # no trace of a look-up that failed before
    assert len(opened.asked) == 2


def test_a_key_error_of_the_handler_stays_its_own() -> None:
    def handler(db: Any) -> Any:
        raise KeyError("db")

    opened = Opening("db")
    with pytest.raises(KeyError):
        called(handler, {}, None, opened)
    assert opened.asked == []


def test_absent_keys_are_told_before_anything_is_opened() -> None:
    opened = Opening()
    with pytest.raises(MissingParametersError) as caught:
        called(lambda a, db: db, {}, None, opened)
    assert (caught.value.names, opened.asked) == (["a"], [])


def test_a_key_of_the_same_name_is_refused() -> None:
    for schema in ({"db": int}, {"db": int | None}, Order):
        with pytest.raises(BindingError, match="is a resource of the provider and also a key"):
            binding_of(lambda payload: payload, schema, ("db", "b"))


def test_a_handler_without_any_takes_the_way_it_took_before() -> None:
    """Its cost is that of a handler of a provider without resources."""
    plain = binding_of(lambda a: a, {"a": int}, ())
    with_some = binding_of(lambda a: a, {"a": int})
    context = BindingContext("fx", "UTC", None, lambda: datetime(2024, 1, 1, tzinfo=UTC), Opening())
    assert plain.prepare(context).__code__ is with_some.prepare(context).__code__
