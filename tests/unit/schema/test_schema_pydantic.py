"""A pydantic model is a schema like any other: the same rules, the same words, JSON Schema included."""

from __future__ import annotations

import datetime
import ipaddress
import uuid
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types

from arbd.errors import SchemaError
from arbd.schema import Invalid, compile_schema


class Line(pydantic.BaseModel):
    product: str
    quantity: int = pydantic.Field(ge=1)
    price: float


class Order(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")
    lines: list[Line]
    kind: Literal["a", "b"] | int = "a"
    at: datetime.datetime | None = None


class Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    x: int


class Lax(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=False)
    x: int


class Judged(pydantic.BaseModel):
    x: int

    @pydantic.field_validator("x")
    @classmethod
    def _check(cls, value: int) -> int:
        if value == 13:
            raise ValueError("bad luck")
        if value == 14:
            raise KeyError("fourteen")
        return value


class Whole(pydantic.RootModel[list[int]]):
    pass


def texts(spec: Any, data: Any) -> list[str]:
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    with pytest.raises(Invalid) as caught:
        compile_schema(spec, where="p").decode(raw)
    return caught.value.texts


def test_a_model_decodes_to_an_instance() -> None:
    data = b'{"orderId":"o","lines":[{"product":"p","quantity":1,"price":2,"more":1}],"at":"2024-01-02T03:04:05Z"}'
    order = compile_schema(Order, where="p").decode(data)
    assert order == Order(
        orderId="o",
        lines=[Line(product="p", quantity=1, price=2.0)],
        at=datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    )


def test_a_model_can_stand_inside_a_dict_schema() -> None:
    decoded = compile_schema({"line": Line, "maybe": (Line, None)}, where="p").decode(
        b'{"line": {"product": "p", "quantity": 1, "price": 2}, "maybe": null}'
    )
    assert decoded == {"line": Line(product="p", quantity=1, price=2.0), "maybe": None}


def test_every_problem_is_listed_with_its_path() -> None:
    data: dict[str, Any] = {
        "lines": [{"product": 1, "quantity": 1, "price": "x"}, {"quantity": 0, "price": True}, 3],
        "kind": 1.5,
        "at": "soon",
    }
    found = texts({"orders": [Order]}, {"orders": [data]})
    expected = [
        "Missing key: orders[0].orderId",
        "Wrong type at orders[0].lines[0].product: expected str, got int",
        "Wrong type at orders[0].lines[0].price: expected float, got str",
        "Missing key: orders[0].lines[1].product",
        "Invalid value at orders[0].lines[1].quantity: ",
        "Wrong type at orders[0].lines[1].price: expected float, got bool",
        "Wrong type at orders[0].lines[2]: expected dict, got int",
        "Invalid value at orders[0].kind: ",
        "Wrong type at orders[0].kind: expected int, got float",
        "Invalid value at orders[0].at: ",
    ]
    # The reasons why a value is not allowed are pydantic's own words.
    assert [text[: len(start)] for text, start in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize("value", [True, "1", 1.0])
def test_the_rules_are_strict(value: Any) -> None:
    assert texts(Judged, {"x": value}) == [f"Wrong type at x: expected int, got {type(value).__name__}"]


def test_a_model_may_ask_for_lax_rules() -> None:
    assert compile_schema(Lax, where="p").decode(b'{"x": "1"}') == Lax(x=1)


def test_missing_top_level_keys_are_missing_params() -> None:
    with pytest.raises(Invalid) as caught:
        compile_schema(Line, where="p").decode(b"")
    assert caught.value.missing_params == ["product", "quantity", "price"]


@pytest.mark.parametrize(
    ("spec", "data", "text"),
    [
        (Closed, {"x": 1, "y": 2}, "Unknown key: y"),
        (Judged, {"x": 14}, "Invalid value at top level: KeyError: 'fourteen'"),
        (Judged, [], "Wrong type at top level: expected dict, got list"),
        (Judged, b'{"x": NaN}', "Not JSON: NaN and Infinity are no JSON numbers (byte 6)"),
        (Judged, b'{"x": \xff}', "Not UTF-8: 0xff cannot stand here (byte 6)"),
        (Judged, b"{", "Not JSON: the data ends too early (byte 1)"),
        ({"m": (Judged, None), "n": int}, {"m": None}, "Missing key: n"),
        ({"m": (Judged, None)}, {"m": 5}, "Wrong type at m: expected dict, got int"),
    ],
)
def test_one_fault_is_one_problem(spec: Any, data: Any, text: str) -> None:
    assert texts(spec, data) == [text]


def test_what_a_validator_says_is_told() -> None:
    [text] = texts(Judged, {"x": 13})
    assert (text.startswith("Invalid value at x: "), text.endswith("bad luck")) == (True, True)


def test_keys_and_summary_name_the_attributes() -> None:
    schema = compile_schema(Line, where="p")
    assert schema.keys == schema.required == frozenset(("product", "quantity", "price"))
    assert schema.summary == {"product": "str", "quantity": "int", "price": "float"}


def test_the_json_schema_of_a_model_finds_its_definitions() -> None:
    schema = compile_schema({"order": Order, "closed": Closed}, where="p").json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    line = {"product": "p", "quantity": 1, "price": 2}
    assert validator.is_valid({"order": {"orderId": "o", "lines": [line]}, "closed": {"x": 1}})
    assert not validator.is_valid({"order": {"orderId": "o", "lines": [{}]}, "closed": {"x": 1}})
    assert not validator.is_valid({"order": {"orderId": "o", "lines": [line]}, "closed": {"x": 1, "y": 1}})


def test_a_model_that_is_no_object_is_refused_at_the_top() -> None:
    with pytest.raises(SchemaError, match="a payload or account is a JSON object"):
        compile_schema(Whole, where="p")
    assert compile_schema({"w": Whole}, where="p").decode(b'{"w": [1]}') == {"w": Whole([1])}


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


class Owner(pydantic.BaseModel):
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


def _kind(value: Any) -> Any:
    return value.get("kind")


class Keeper(pydantic.BaseModel):
    pet: Annotated[
        Annotated[Cat, pydantic.Tag("cat")] | Annotated[Dog, pydantic.Tag("dog")], pydantic.Discriminator(_kind)
    ]


class Exact(pydantic.BaseModel):
    id: uuid.UUID | None = None
    address: ipaddress.IPv4Address | None = None
    url: pydantic.AnyUrl | None = None
    at: datetime.datetime | None = None
    code: Annotated[str, pydantic.Field(pattern="^a+$")] = "a"
    choice: Literal["x"] = "x"

    @pydantic.field_validator("code", mode="before")
    @classmethod
    def _check(cls, value: str) -> str:
        if value.startswith("refused"):
            raise ValueError(f"the code {value!r} is refused")
        return value


SECRET = "hunter2-secret"


@pytest.mark.parametrize("model", [Owner, Keeper])
def test_a_tag_that_is_not_known_is_not_quoted(model: Any) -> None:
    [text] = texts(model, {"pet": {"kind": SECRET}})
    assert SECRET not in text
    assert "'cat'" in text
    assert len(texts(model, {"pet": {}})) == 1


@pytest.mark.parametrize("field", list(Exact.model_fields))
def test_no_message_of_pydantic_quotes_the_value(field: str) -> None:
    assert [text for text in texts(Exact, {field: SECRET}) if "hunter2" in text or "`h`" in text] == []


def test_an_author_s_rule_says_its_sentence_without_the_value() -> None:
    [text] = texts(Exact, {"code": "refused-hunter2"})
    assert "the code '[value]' is refused" in text
