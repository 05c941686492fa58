"""Every spec an author can mean compiles; every other is refused with where it is wrong and what to write."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any, Dict, List, Literal, NotRequired, Optional, Required, TypedDict, Union  # noqa: UP035

import msgspec
import pytest

from arbd.errors import SchemaError
from arbd.schema import Invalid, compile_schema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Patch(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] = []


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class Both(TypedDict):
    must: int
    may: NotRequired[Optional[int]]  # noqa: UP045 -- the spelling of the specs


@dataclass
class Person:
    name: str
    age: int = 18


class Named(msgspec.Struct, rename="camel"):
    user_id: int


VALUES = [
    (str, "text"),
    (int, 3),
    (float, 1.5),
    (bool, True),
    (None, None),
    (Any, [1, {"a": None}]),
    (object, {"x": [1]}),
    (dict, {"any": [1]}),
    (list, [1, "a"]),
    ({}, {"any": 1}),
    ([], ["any", 1]),
    ([str], ["a"]),
    ([{"n": int}], [{"n": 1}]),
    ([[int]], [[1], []]),
    ([Optional[int]], [1, None]),  # noqa: UP045
    ({"n": {"m": bool}}, {"n": {"m": True}}),
    (int | str, "a"),
    (Union[int, str, None], None),  # noqa: UP007
    ((int, str), 7),
    ((int,), 7),
    (({"n": int}, None), {"n": 1}),
    (({"n": int}, [str], float), ["a"]),
    (Literal["a", 1, None], 1),
    (List[str], ["a"]),  # noqa: UP006
    (Dict[str, int], {"a": 1}),  # noqa: UP006
    (GenericAlias(dict, (str, {"n": int})), {"k": {"n": 1}}),
    (GenericAlias(list, ({"n": int},)), [{"n": 1}]),
    (int | GenericAlias(list, ({"n": int},)), [{"n": 1}]),
    (Sequence[int], [1]),
    (Mapping[str, float], {"a": 1.5}),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
]


@pytest.mark.parametrize(("spec", "value"), VALUES, ids=lambda part: str(part)[:40])
def test_a_value_of_the_spec_decodes_to_itself(spec: Any, value: Any) -> None:
    schema = compile_schema({"key": spec}, where="payload_schema")
    assert schema.decode(msgspec.json.encode({"key": value})) == {"key": value}


CONVERTED = [
    (datetime.datetime, "2024-02-03T04:05:06Z", datetime.datetime(2024, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)),
    (datetime.date, "2024-02-03", datetime.date(2024, 2, 3)),
    (datetime.timedelta, "PT2S", datetime.timedelta(seconds=2)),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (uuid.UUID, "12345678123456781234567812345678", uuid.UUID(int=0x12345678123456781234567812345678)),
    (bytes, "aGk=", b"hi"),
    (Colour, "red", Colour.RED),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1, 1, 2], {1, 2}),
    (float, 3, 3.0),
    (Point, {"x": 1, "z": 9}, Point(1, 0)),
    (Person, {"name": "Ann"}, Person("Ann", 18)),
    (Both, {"must": 1, "more": 2}, {"must": 1}),
    (Circle | Square, {"type": "Square", "side": 2}, Square(2.0)),
    ([Point], [{"x": 1}], [Point(1)]),
]


@pytest.mark.parametrize(("spec", "value", "decoded"), CONVERTED, ids=lambda part: str(part)[:40])
def test_a_value_is_converted_to_the_type_of_the_spec(spec: Any, value: Any, decoded: Any) -> None:
    schema = compile_schema({"key": spec}, where="payload_schema")
    actual = schema.decode(msgspec.json.encode({"key": value}))["key"]
    assert (actual, type(actual)) == (decoded, type(decoded))


@pytest.mark.parametrize(
    "spec",
    [
        Optional[int],  # noqa: UP045
        int | None,
        None,
        (int, None),
        NotRequired[int],
        Annotated[Optional[int], msgspec.Meta(title="n")],  # noqa: UP045
        Literal["a", None],
    ],
    ids=str,
)
def test_an_optional_key_may_be_absent(spec: Any) -> None:
    schema = compile_schema({"key": spec, "other": int}, where="payload_schema")
    assert schema.decode(b'{"other": 1}') == {"other": 1}
    assert set(schema.required) == {"other"}


@pytest.mark.parametrize("spec", [int, list[None], Any, Required[Optional[int]], [None], Literal["a"]], ids=str)  # noqa: UP045
def test_every_other_key_is_required(spec: Any) -> None:
    schema = compile_schema({"key": spec}, where="payload_schema")
    with pytest.raises(Invalid) as caught:
        schema.decode(b"{}")
    assert caught.value.texts == ["Missing key: key"]


@pytest.mark.parametrize("key", ["a-b", "class", "", 'say "hi"', "back\\slash", "straße", "日本", "😀", "a.b", "1"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_key_is_any_string(key: str, ascii_only: bool) -> None:
    schema = compile_schema({key: int, "plain": int}, where="payload_schema")
    data = json.dumps({key: 1, "plain": 2}, ensure_ascii=ascii_only).encode()
    assert schema.decode(data) == {key: 1, "plain": 2}


def test_a_key_of_an_authors_class_may_be_beyond_ascii() -> None:
    Typed = TypedDict("Typed", {"größe" + "": int})  # type: ignore[misc]  # a key made at run time, as from a file
    made: Any = dataclass(type("Made", (), {"__annotations__": {"größe" + "": int}}))
    data = '{"größe": 1}'.encode()
    assert compile_schema(Typed, where="p").decode(data) == {"größe": 1}
    assert compile_schema(made, where="p").decode(data).größe == 1


@pytest.mark.parametrize(
    ("spec", "keys", "required"),
    [
        (None, None, set()),
        ({}, None, set()),
        (dict, None, set()),
        (Any, None, set()),
        (dict[str, int], None, set()),
        ({"a": int, "b": Optional[str]}, {"a", "b"}, {"a"}),  # noqa: UP045
        (Both, {"must", "may"}, {"must"}),
        (Point, {"x", "y"}, {"x", "y"}),  # a default makes the attribute always there
        (Person, {"name", "age"}, {"name", "age"}),
        (Patch, {"name", "tags"}, {"tags"}),  # what is unset is not there
        (Named, {"user_id"}, {"user_id"}),
        (Circle | Square, {"radius", "side"}, set()),
    ],
    ids=lambda given: str(sorted(given) if isinstance(given, set) else given),  # the same in every process
)
def test_keys_are_what_a_handler_can_be_given(spec: Any, keys: Any, required: Any) -> None:
    schema = compile_schema(spec, where="payload_schema")
    assert schema.keys == keys
    assert schema.required == required


REFUSED = [
    ({"a": 5}, "payload_schema.a: 5 is a value, not a type; write int, or Literal[5] for exactly this value"),
    ({"a": True}, "payload_schema.a: True is a value, not a type; write bool, or Literal[True] for exactly this value"),
    ({"a": 1.5}, "payload_schema.a: 1.5 is a value, not a type; write float"),
    ({"a": "str"}, "payload_schema.a: 'str' is a value, not a type; write str without quotes"),
    ({"a": {"b": [{"c": 1}]}}, "payload_schema.a.b[].c: 1 is a value"),
    ({"a": [str, int]}, "payload_schema.a: a list schema has one item"),
    ({"a": ()}, "payload_schema.a: an empty tuple allows nothing"),
    ({1: int}, "payload_schema: the key 1 is no string; JSON keys are strings, write '1'"),
    ({"a": str | datetime.datetime}, "write str and convert it in the action"),
    ({"a": Union[Point, Person]}, "write dict, or a union of msgspec.Structs with tag=True"),  # noqa: UP007
    ({"a": Point | Circle}, "give each of them a tag"),
    ({"a": ([int], [str])}, "write one list whose items are the union"),
    ({"a": complex}, "payload_schema.a: no JSON value decodes to complex; write a dict schema, a msgspec.Struct"),
    ({"a": [{"b": range}]}, "payload_schema.a[].b: no JSON value decodes to range"),
    ({"a": len}, "payload_schema.a: <built-in function len> is no type"),
    ({"a": List["Nowhere"]}, "write it without quotes"),  # type: ignore[name-defined]  # noqa: F821, UP006
    ({"a": Annotated[Optional[int], msgspec.Meta(ge=0)]}, "put the Meta on the type that it limits"),  # noqa: UP045
    ({"a": Literal[1.5]}, "write the type of the values"),
    ({"a": Mixed}, "make the enum's values all strings or all integers"),
    ({"a": msgspec.msgpack.Ext}, "payload_schema.a: Ext cannot be used in a schema; write Any"),
    ({"a": msgspec.Raw}, "payload_schema.a: Raw cannot be used in a schema; write Any"),
    ([str], "payload_schema: a payload or account is a JSON object, so list cannot be its schema"),
    (int, "so int cannot be its schema"),
    (Optional[Point], "so dict | None cannot be its schema"),  # noqa: UP045
    (5, "payload_schema: 5 is a value"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED, ids=lambda part: str(part)[:50])
def test_a_bad_spec_is_refused_with_where_and_what_to_write(spec: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(spec, where="payload_schema")
    assert message in str(caught.value)
    assert str(caught.value).startswith("payload_schema")


def test_a_class_inside_a_class_that_json_cannot_give_is_refused_with_its_path() -> None:
    Holder = msgspec.defstruct("Holder", [("items", list[complex])])
    with pytest.raises(SchemaError, match=r"^payload_schema\.held\.items\[\]: no JSON value decodes to complex"):
        compile_schema({"held": Holder}, where="payload_schema")


def test_a_spec_that_contains_itself_is_refused() -> None:
    spec: dict[str, Any] = {}
    spec["again"] = spec
    with pytest.raises(SchemaError, match="does it contain itself"):
        compile_schema(spec, where="payload_schema")
