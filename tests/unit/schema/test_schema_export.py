"""The JSON Schema is valid 2020-12 and describes what is accepted; the summary says it in the author's words."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types

from arbd.schema import Invalid, Schema, compile_schema


class Node(msgspec.Struct):
    """A node of a tree."""

    value: int = 0
    children: list[Node] = []


class Cat(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    lives: Annotated[int, msgspec.Meta(ge=0, le=9)]


class Dog(msgspec.Struct, tag=True):
    name: str


@dataclass
class Person:
    name: str
    age: int = 18


def exported(spec: Any) -> dict[str, Any]:
    schema = compile_schema(spec, where="p").json_schema()
    Draft202012Validator.check_schema(schema)
    return schema


def test_a_dict_schema_stands_inline() -> None:
    spec = {"id": str, "items": [{"price": float}], "note": Optional[str], "any": Any, "open": {}}  # noqa: UP045
    assert exported(spec) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "any": {},
            "id": {"type": "string"},
            "items": {
                "type": "array",
                "items": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]},
            },
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "open": {"type": "object"},
        },
        "required": ["any", "id", "items", "open"],
    }


def test_no_schema_is_any_object() -> None:
    assert exported(None) == {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}


def test_an_authors_class_is_a_definition() -> None:
    schema = exported({"root": Node})
    assert schema["properties"] == {"root": {"$ref": "#/$defs/Node"}}
    assert schema["$defs"]["Node"]["description"] == "A node of a tree."


def test_two_dicts_of_the_same_shape_stay_apart() -> None:
    schema = exported({"a": {"x": int}, "b": {"x": str}})
    assert [schema["properties"][key]["properties"]["x"]["type"] for key in "ab"] == ["integer", "string"]


def accepts(schema: Schema, data: Any) -> bool:
    try:
        schema.decode(msgspec.json.encode(data))
    except Invalid:
        return False
    return True


SPECS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"n": float}, [{"n": 1}, {"n": 1.5, "more": 1}], [{"n": True}, {}, {"n": None}, []]),
    ({"n": int}, [{"n": 1}], [{"n": False}, {"n": 1.5}, {"n": "1"}]),
    ({"n": decimal.Decimal}, [{"n": "1.5"}, {"n": 1.5}], [{"n": True}, {}]),
    ({"n": object}, [{"n": None}, {"n": [1]}], [{}]),
    ({"n": Literal["a", 2]}, [{"n": "a"}, {"n": 2}], [{"n": "b"}, {"n": 3}, {"n": None}]),
    ({"n": ({"a": int}, None)}, [{"n": {"a": 1}}, {"n": None}, {}], [{"n": {}}, {"n": 1}]),
    ({"n": dict[str, int]}, [{"n": {}}, {"n": {"a": 1}}], [{"n": {"a": "b"}}]),
    ({"n": tuple[int, str]}, [{"n": [1, "a"]}], [{"n": [1]}, {"n": [1, "a", 2]}]),
    ({"n": Cat | Dog}, [{"n": {"type": "Dog", "name": "x"}}], [{"n": {"type": "Cat", "lives": 10}}, {"n": {}}]),
    (Cat, [{"type": "Cat", "lives": 9}], [{"type": "Cat", "lives": 9, "more": 1}, {"type": "Dog", "lives": 1}]),
    (Person, [{"name": "Ann"}, {"name": "Ann", "age": 3, "x": 1}], [{}, {"name": 1}]),
    (Node, [{}, {"children": [{"value": 1}]}], [{"children": [{"value": "x"}]}, {"children": None}]),
]


@pytest.mark.parametrize(("spec", "good", "bad"), SPECS, ids=lambda part: str(part)[:40])
def test_the_json_schema_accepts_what_decoding_accepts(spec: Any, good: list[Any], bad: list[Any]) -> None:
    schema = compile_schema(spec, where="p")
    validator = Draft202012Validator(exported(spec))
    expected = [(data, True) for data in good] + [(data, False) for data in bad]
    assert [(data, accepts(schema, data)) for data in good + bad] == expected
    assert [(data, validator.is_valid(data)) for data in good + bad] == expected


@pytest.mark.parametrize(
    ("spec", "summary"),
    [
        ({"param1": str, "param2": int}, {"param1": "str", "param2": "int"}),
        (
            {"z": [{"a": float}], "b": {"c": Optional[bool]}, "d": (int, [str]), "e": {}},  # noqa: UP045
            {"z": [{"a": "float"}], "b": {"c": "bool | None"}, "d": "int | list", "e": "dict"},
        ),
        (
            {"l": list, "t": tuple[int, str], "k": Literal["x", "y"]},
            {"l": ["Any"], "t": ["int", "str"], "k": "'x' | 'y'"},
        ),
        (Person, {"name": "str", "age": "int"}),
        (Node, {"value": "int", "children": ["Node"]}),
        ({"pet": Cat | Dog | None}, {"pet": "dict | None"}),
        (None, "dict"),
        (Cat | Dog, "dict"),
    ],
    ids=str,
)
def test_the_summary_is_the_schema_in_the_authors_words_and_order(spec: Any, summary: Any) -> None:
    actual = compile_schema(spec, where="p").summary
    assert msgspec.json.encode(actual) == msgspec.json.encode(summary)
