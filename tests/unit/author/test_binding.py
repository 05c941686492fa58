"""Every parameter of a handler is filled by name with the right thing, or the handler is refused at registration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.author.binding import RESERVED, Binding, BindingContext, MissingParametersError, bind, fields_of
from arbd.errors import BindingError
from arbd.model.task import Task, TaskInfo
from arbd.schema import compile_schema

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
MOSCOW = ZoneInfo("Europe/Moscow")
TASK = Task("t-1", "act", b"{}", b"{}")
LOGGER = object()
CONTEXT = BindingContext("fx", "Europe/Moscow", LOGGER, lambda: NOON)
ACCOUNT = {"api_key": "k"}


def binding_of(handler: Callable[..., Any], schema: object = None) -> Binding:
    return bind(handler, compile_schema(schema, where="payload_schema"), where="action 'act'")


def called(handler: Callable[..., Any], payload: Any, schema: object = None) -> Any:
    """What the handler returns for ``payload``, which must fit ``schema``."""
    decoded = compile_schema(schema, where="payload_schema").decode(msgspec.json.encode(payload))
    return binding_of(handler, schema).prepare(CONTEXT)(decoded, ACCOUNT, TASK, 99.5)


# --- every kind of parameter ------------------------------------------------------------------------------------


def test_no_parameters() -> None:
    assert called(lambda: "pong", {}) == "pong"


def test_payload_alone() -> None:
    assert called(lambda payload: payload, {"a": 1}) == {"a": 1}


def test_one_key() -> None:
    assert called(lambda a: a, {"a": 1, "b": "x"}, {"a": int, "b": str}) == 1


def test_keys_in_the_order_of_the_signature() -> None:
    assert called(lambda b, a: (a, b), {"a": 1, "b": "x"}, {"a": int, "b": str}) == (1, "x")


def test_all_reserved_names() -> None:
    def handler(payload, account, logger, provider, timezone, now, now_utc, task):  # type: ignore[no-untyped-def] # as authors write
        return payload, account, logger, provider, timezone, now, now_utc, task

    assert called(handler, {"a": 1}) == (
        {"a": 1},
        ACCOUNT,
        LOGGER,
        {"name": "fx"},
        "Europe/Moscow",
        NOON.astimezone(MOSCOW),
        NOON,
        TaskInfo("t-1", "act", 99.5),
    )


def test_now_is_in_the_provider_s_zone() -> None:
    assert called(lambda now: now.isoformat(), {}) == "2024-07-01T15:00:00+03:00"


def test_the_provider_dict_is_new_in_every_call() -> None:
    call = binding_of(lambda provider: provider).prepare(CONTEXT)
    call({}, {}, TASK, 0.0)["name"] = "changed"
    assert call({}, {}, TASK, 0.0) == {"name": "fx"}


def test_positional_only() -> None:
    def handler(payload: Any, a: int, /, b: str) -> Any:
        return payload, a, b

    assert called(handler, {"a": 1, "b": "x"}, {"a": int, "b": str}) == ({"a": 1, "b": "x"}, 1, "x")


def test_keyword_only() -> None:
    def handler(*, a: int, task: TaskInfo) -> Any:
        return a, task.id

    assert called(handler, {"a": 1}, {"a": int}) == (1, "t-1")


def test_a_default_for_an_absent_key() -> None:
    def handler(a: int, b: str = "standard") -> Any:
        return a, b

    schema = {"a": int, "b": str | None}
    assert called(handler, {"a": 1}, schema) == (1, "standard")
    assert called(handler, {"a": 1, "b": "x"}, schema) == (1, "x")


def test_a_positional_only_default_before_a_filled_parameter() -> None:
    def handler(unknown: int = 7, a: int = 8, /) -> Any:
        return unknown, a

    assert called(handler, {"a": 1}, {"a": int}) == (7, 1)


def test_var_keyword_alone_gets_everything() -> None:
    def handler(**kwargs: Any) -> Any:
        return kwargs

    assert called(handler, {"a": 1, "x-y": 2}) == {
        "payload": {"a": 1, "x-y": 2},
        "account": ACCOUNT,
        "logger": LOGGER,
        "provider": {"name": "fx"},
        "timezone": "Europe/Moscow",
        "now": NOON.astimezone(MOSCOW),
        "now_utc": NOON,
        "task": TaskInfo("t-1", "act", 99.5),
        "a": 1,
        "x-y": 2,
    }


def test_var_keyword_gets_what_no_other_parameter_took() -> None:
    def handler(payload: Any, a: int, /, **kwargs: Any) -> Any:
        return sorted(kwargs)

    assert called(handler, {"a": 1, "b": 2}) == sorted({*RESERVED, "b"} - {"payload"})


def test_var_positional_gets_nothing() -> None:
    def handler(*args: Any, a: int) -> Any:
        return args, a

    assert called(handler, {"a": 1}, {"a": int}) == ((), 1)


# --- every kind of callable -------------------------------------------------------------------------------------


class Desk:
    def __init__(self, rate: int) -> None:
        self.rate = rate

    def method(self, a: int) -> int:
        return a * self.rate

    @staticmethod
    def static(a: int) -> int:
        return a + 1

    @classmethod
    def of_class(cls, a: int) -> str:
        return f"{cls.__name__} {a}"

    def __call__(self, a: int) -> int:
        return -a


def add(a: int, b: int) -> int:
    return a + b


@functools.wraps(add)
def wrapped(*args: Any, **kwargs: Any) -> int:
    return -add(*args, **kwargs)


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        pytest.param(Desk(10).method, 30, id="bound method"),
        pytest.param(Desk.static, 4, id="static method"),
        pytest.param(Desk.of_class, "Desk 3", id="class method"),
        pytest.param(Desk(10), -3, id="callable object"),
        pytest.param(functools.partial(add, 5), 8, id="partial, first bound"),
        pytest.param(functools.partial(add, b=5), 8, id="partial, last bound"),
        pytest.param(wrapped, -7, id="functools.wraps"),
    ],
)
def test_callables(handler: Callable[..., Any], result: Any) -> None:
    assert called(handler, {"a": 3, "b": 4} if handler is wrapped else {"a": 3, "b": 3}) == result


def test_what_a_partial_has_bound_is_not_the_caller_s_to_choose() -> None:
    def handler(a: int, limit: int, **kwargs: Any) -> Any:
        return a, limit, kwargs.get("rate"), kwargs["logger"]

    bound = functools.partial(handler, limit=10, rate=2, logger="own")
    assert called(bound, {"a": 1, "limit": 10**9, "rate": 0}) == (1, 10, 2, "own")


def test_an_async_handler_gives_its_coroutine() -> None:
    async def handler(a: int) -> int:
        return a

    coroutine = called(handler, {"a": 3}, {"a": int})
    with pytest.raises(StopIteration, match="3"):
        coroutine.send(None)


# --- payloads that are objects ----------------------------------------------------------------------------------


class Order(msgspec.Struct):
    order_id: str
    quantity: int = 1
    note: str | msgspec.UnsetType = msgspec.UNSET


@dataclass
class Trade:
    symbol: str
    size: float = 0.5


def test_the_fields_of_a_struct_are_keys() -> None:
    assert called(lambda order_id: order_id, {"order_id": "o-1"}, Order) == "o-1"
    assert called(lambda quantity, order_id: (order_id, quantity), {"order_id": "o-1"}, Order) == ("o-1", 1)
    assert called(lambda payload: payload, {"order_id": "o-1"}, Order) == Order("o-1")


def test_an_unset_field_of_a_struct_is_an_absent_key() -> None:
    assert called(lambda note="none": note, {"order_id": "o-1"}, Order) == "none"
    with pytest.raises(MissingParametersError) as caught:
        called(lambda note: note, {"order_id": "o-1"}, Order)
    assert caught.value.names == ["note"]


def test_the_fields_of_a_dataclass_are_keys() -> None:
    assert called(lambda symbol, size: (symbol, size), {"symbol": "EUR"}, Trade) == ("EUR", 0.5)


def test_fields_of_any_other_object_are_its_attributes() -> None:
    assert fields_of(Desk(10)) == {"rate": 10}


# --- refusals and doubts ----------------------------------------------------------------------------------------


def test_a_parameter_that_nothing_fills_is_refused() -> None:
    def handler(a: int, colour: str) -> None: ...

    with pytest.raises(BindingError) as caught:
        binding_of(handler, {"a": int, "b": str})
    assert str(caught.value) == (
        "action 'act': parameter 'colour' of handler(a: 'int', colour: 'str') -> 'None' can never be filled. It has "
        "no default, is no key of payload_schema (keys: a, b) and no reserved name (payload, account, logger, "
        "provider, timezone, now, now_utc, task). Add 'colour' to payload_schema, give the parameter a default, or "
        "rename it."
    )


@pytest.mark.parametrize("handler", [7, "text", None])
def test_what_cannot_be_called_is_refused(handler: Any) -> None:
    with pytest.raises(BindingError, match="cannot be called"):
        binding_of(handler)


def test_a_callable_without_a_signature_is_refused() -> None:
    with pytest.raises(BindingError, match="no readable signature; wrap it in a function"):
        binding_of(dict)


def test_without_a_schema_any_parameter_may_come() -> None:
    assert called(lambda a: a, {"a": 1}) == 1


def test_every_absent_parameter_is_named() -> None:
    ran = []

    def handler(a: int, b: int, c: int, d: int = 4) -> None:
        ran.append((a, b, c, d))

    with pytest.raises(MissingParametersError) as caught:
        called(handler, {"b": 1})
    assert caught.value.names == ["a", "c"]
    assert ran == []


def test_an_optional_key_without_a_default_may_be_missing() -> None:
    with pytest.raises(MissingParametersError) as caught:
        called(lambda a, b: (a, b), {"a": 1}, {"a": int, "b": str | None})
    assert caught.value.names == ["b"]


def test_a_key_error_of_the_handler_stays_its_own() -> None:
    with pytest.raises(KeyError, match="absent"):
        called(lambda payload: payload["absent"], {})


def test_reserved_names_win_and_a_note_says_so() -> None:
    schema = {"timezone": str}
    assert called(lambda timezone: timezone, {"timezone": "Asia/Tokyo"}, schema) == "Europe/Moscow"
    assert binding_of(lambda timezone: timezone, schema).notes == [
        "'timezone' is arbd's own value here; the payload key of that name is payload['timezone']"
    ]
    assert called(lambda **kw: kw["timezone"], {"timezone": "Asia/Tokyo"}, schema) == "Europe/Moscow"


def test_no_note_where_the_handler_does_not_ask_for_the_reserved_name() -> None:
    assert binding_of(lambda payload: None, {"timezone": str}).notes == []


def test_a_note_for_a_parameter_that_may_be_missing() -> None:
    assert binding_of(lambda a: None, {"a": str | None}).notes == [
        "parameter 'a' has no default and payload_schema does not require it: tasks without it fail"
    ]


# --- the shortcuts agree with the general closure ---------------------------------------------------------------

KEYS = ("a", "b", "c")
NAMES = [*KEYS, "payload", "account", "now_utc"]


@given(names=st.permutations(NAMES).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[:n])))
def test_any_signature_gets_what_its_names_say(names: list[str]) -> None:
    payload = {"a": 1, "b": 2, "c": 3}
    expected = {**payload, "payload": payload, "account": ACCOUNT, "now_utc": NOON}
    handler = eval(f"lambda {', '.join(names)}: [{', '.join(names)}]")
    schema = dict.fromkeys(KEYS, int)
    assert called(handler, payload, schema) == [expected[name] for name in names]


@pytest.mark.parametrize("wanted", [set(pair) for pair in combinations(RESERVED, 2)], ids=sorted)
def test_wanted_holds_the_reserved_names_of_the_signature(wanted: set[str]) -> None:
    handler = eval(f"lambda {', '.join(wanted)}: None")
    assert binding_of(handler).wanted == wanted
