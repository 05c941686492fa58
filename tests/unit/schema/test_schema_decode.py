"""Decoding is one pass: the right data comes out without its unknown keys, everything else is Invalid."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from arbd.errors import TaskTimeout
from arbd.schema import Invalid, compile_schema

ORDER = {
    "order_id": str,
    "items": [{"product_id": str, "quantity": int, "price": float}],
    "customer": {"name": str, "email": str, "address": {"street": str, "city": str, "zip": str}},
}


def order() -> dict[str, Any]:
    return {
        "order_id": "o-1",
        "items": [{"product_id": "p", "quantity": 2, "price": 1.5}],
        "customer": {"name": "Ann", "email": "a@b.c", "address": {"street": "s", "city": "c", "zip": "1"}},
    }


def test_the_order_of_the_specs_decodes() -> None:
    assert compile_schema(ORDER, where="p").decode(msgspec.json.encode(order())) == order()


def test_unknown_keys_are_dropped_at_every_level() -> None:
    data = order()
    data["x"] = data["items"][0]["x"] = data["customer"]["x"] = data["customer"]["address"]["x"] = {"y": [1]}
    assert compile_schema(ORDER, where="p").decode(msgspec.json.encode(data)) == order()


def test_an_int_is_taken_where_a_float_is_asked_for() -> None:
    decoded = compile_schema({"price": float}, where="p").decode(b'{"price": 3}')
    assert (decoded, type(decoded["price"])) == ({"price": 3.0}, float)


@pytest.mark.parametrize("spec", [int, float, int | float, int | None])
def test_a_bool_is_no_number(spec: Any) -> None:
    with pytest.raises(Invalid, match=r"^Wrong type at n: expected .*, got bool$"):
        compile_schema({"n": spec}, where="p").decode(b'{"n": true}')


def test_no_bytes_are_an_empty_object() -> None:
    assert compile_schema(None, where="p").decode(b"") == {}
    assert compile_schema({"a": int | None}, where="p").decode(b"") == {}
    with pytest.raises(Invalid, match=r"^Missing key: a$"):
        compile_schema({"a": int}, where="p").decode(b"")


def test_no_schema_takes_every_object_and_keeps_its_keys() -> None:
    assert compile_schema(None, where="p").decode(b'{"a": {"b": [1, null]}}') == {"a": {"b": [1, None]}}


def test_the_last_of_two_equal_keys_wins() -> None:
    assert compile_schema({"a": int}, where="p").decode(b'{"a": 1, "a": 2}') == {"a": 2}


def test_equal_keys_do_not_stand_for_a_missing_one() -> None:
    with pytest.raises(Invalid, match=r"^Missing key: b$"):
        compile_schema({"a": int, "b": int}, where="p").decode(b'{"a": 1, "a": 2}')


def test_bytes_that_are_no_utf8_are_refused_even_in_keys_that_would_be_dropped() -> None:
    with pytest.raises(Invalid, match=r"^Not UTF-8: 0xff cannot stand here \(byte 17\)$"):
        compile_schema({"a": int}, where="p").decode(b'{"a": 1, "junk": \xff}')


def test_the_soft_deadline_passes_through() -> None:
    class Slow(msgspec.Struct):
        def __post_init__(self) -> None:
            raise TaskTimeout

    with pytest.raises(TaskTimeout):
        compile_schema({"slow": Slow}, where="p").decode(b'{"slow": {}}')


def test_want_of_memory_is_not_blamed_on_the_payload() -> None:
    class Huge(msgspec.Struct):
        def __post_init__(self) -> None:
            raise MemoryError

    with pytest.raises(MemoryError):
        compile_schema({"huge": Huge}, where="p").decode(b'{"huge": {}}')


def test_importing_schemas_imports_nothing_heavy() -> None:
    code = (
        "import sys, arbd.schema\n"
        "print([m for m in ('pydantic', 'grpc', 'rich', 'click', 'asyncio', 'socket') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
