"""Refused data is explained: every problem, each with its full path, in the words of the specs."""

from __future__ import annotations

import enum
import re
import time
from dataclasses import dataclass
from datetime import datetime
from types import GenericAlias
from typing import Annotated, Any, Literal, NamedTuple, Optional

import msgspec
import pytest

from arbd.schema import Invalid, Problem, compile_schema, explain
from arbd.schema.explain import MAX_WALKED_BYTES

PROFILE = {
    "username": str,
    "profile": {"first_name": str, "settings": {"theme": str, "notifications": {"email": bool, "sms": bool}}},
    "tags": [str],
}


def problems(spec: Any, data: Any) -> list[Problem]:
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    with pytest.raises(Invalid) as caught:
        compile_schema(spec, where="payload_schema").decode(raw)
    return caught.value.problems


def texts(spec: Any, data: Any) -> list[str]:
    return [problem.text for problem in problems(spec, data)]


def unlike(found: list[str], expected: list[str]) -> list[str]:
    """What is not as expected. ``<reason>`` stands for words of others, which change between their releases."""
    patterns = [re.escape(text).replace("<reason>", ".+") for text in expected]
    if len(found) != len(patterns):
        return found
    return [text for text, pattern in zip(found, patterns, strict=True) if not re.fullmatch(pattern, text)]


def test_a_missing_key_is_named_by_its_full_path() -> None:
    data = {
        "username": "u",
        "profile": {"first_name": "f", "settings": {"theme": "t", "notifications": {"email": True}}},
        "tags": [],
    }
    assert problems(PROFILE, data) == [
        Problem(
            "missing",
            ("profile", "settings", "notifications", "sms"),
            "Missing key: profile.settings.notifications.sms",
        )
    ]


def test_every_problem_is_listed_in_the_order_of_the_schema() -> None:
    data = {"tags": ["a", 2, None], "profile": {"settings": {"notifications": {"email": 1, "sms": []}}}}
    assert texts(PROFILE, data) == [
        "Missing key: username",
        "Missing key: profile.first_name",
        "Missing key: profile.settings.theme",
        "Wrong type at profile.settings.notifications.email: expected bool, got int",
        "Wrong type at profile.settings.notifications.sms: expected bool, got list",
        "Wrong type at tags[1]: expected str, got int",
        "Wrong type at tags[2]: expected str, got None",
    ]


def test_an_item_of_a_list_carries_its_index() -> None:
    items = [{"price": 1}, {"price": 2.5}, {"price": "3"}]
    assert texts({"items": [{"price": float}]}, {"items": items}) == [
        "Wrong type at items[2].price: expected float, got str"
    ]


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Item(msgspec.Struct):
    quantity: Annotated[int, msgspec.Meta(ge=1)]
    kind: Literal["a", "b"] = "a"
    parts: list[Item] = []


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    x: int


class Checked(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.low == 13:
            raise KeyError("thirteen")


@dataclass
class Data:
    name: str


class Left(msgspec.Struct, tag="left"):
    x: int


class Right(msgspec.Struct, tag="right"):
    x: int


class Alone(msgspec.Struct, tag="alone"):
    x: int


class Pair(NamedTuple):
    x: int
    y: int


class Row(msgspec.Struct, array_like=True):
    x: int
    y: str


SINGLE = [
    (int, "1", "Wrong type at k: expected int, got str"),
    (int, 1.0, "Wrong type at k: expected int, got float"),
    (str, None, "Wrong type at k: expected str, got None"),
    (dict, [], "Wrong type at k: expected dict, got list"),
    (list, {}, "Wrong type at k: expected list, got dict"),
    ({"a": int}, 1, "Wrong type at k: expected dict, got int"),
    ([int], "ab", "Wrong type at k: expected list, got str"),
    (Optional[str], 5, "Wrong type at k: expected str | None, got int"),  # noqa: UP045
    ((int, [str]), "x", "Wrong type at k: expected int | list, got str"),
    ((int, [str]), ["x", 1], "Wrong type at k[1]: expected str, got int"),
    ((int, [str]), {}, "Wrong type at k: expected int | list, got dict"),
    (({"a": int}, None), {}, "Missing key: k.a"),
    (({"a": int}, None), 1, "Wrong type at k: expected dict | None, got int"),
    ((dict[str, int], None), {"z": ""}, "Wrong type at k.z: expected int, got str"),
    (GenericAlias(dict, (str, [int])), {"z": [1, "a"]}, "Wrong type at k.z[1]: expected int, got str"),
    (dict[int, str], {"z": "a"}, "Invalid value at k.z: this key is not allowed"),
    (Literal["a", "b"], "c", "Invalid value at k: expected 'a' | 'b'"),
    (Literal["a", "b"], 3, "Wrong type at k: expected 'a' | 'b', got int"),
    (Level, "mid", "Invalid value at k: expected 'low' | 'high'"),
    (datetime, "yesterday", "Invalid value at k: Invalid RFC3339 encoded datetime"),
    (datetime, 5, "Wrong type at k: expected datetime, got int"),
    (Annotated[int, msgspec.Meta(ge=3)], 1, "Invalid value at k: expected int >= 3"),
    (Annotated[str, msgspec.Meta(pattern="^a")], "b", "Invalid value at k: expected str matching regex '^a'"),
    (Annotated[list[int], msgspec.Meta(min_length=2)], [1], "Invalid value at k: expected list of length >= 2"),
    (
        Annotated[dict[str, int], msgspec.Meta(max_length=0)],
        {"a": 1},
        "Invalid value at k: expected dict of length <= 0",
    ),
    (tuple[int, str], [1], "Invalid value at k: expected list of length 2, got 1"),
    (tuple[int, str], [1, 2], "Wrong type at k[1]: expected str, got int"),
    (set, [1, [1]], "Invalid value at k[1]: a set cannot hold a list"),
    (frozenset[Any], [{}], "Invalid value at k[0]: a set cannot hold a dict"),
    (Annotated[set[int], msgspec.Meta(max_length=2)], [1, 2, 3], "Invalid value at k: expected list of length <= 2"),
    (Annotated[int, msgspec.Meta(ge=3, lt=9)], 9, "Invalid value at k: expected int >= 3, < 9"),
    (set[int], [1, "a"], "Wrong type at k[1]: expected int, got str"),
    (Item, {"quantity": 0}, "Invalid value at k.quantity: expected int >= 1"),
    (Item, {"quantity": 1, "parts": [{}]}, "Missing key: k.parts[0].quantity"),
    (Item, [], "Wrong type at k: expected dict, got list"),
    (Data, {}, "Missing key: k.name"),
    (Closed, {"x": 1, "y": 2}, "Unknown key: k.y"),
    (Checked, {"low": 2}, "Missing key: k.high"),
    (Left | Right, {"type": "up", "x": 1}, "Invalid value at k.type: expected 'left' | 'right'"),
    (Left | Right, {"type": ["left"], "x": 1}, "Invalid value at k.type: expected 'left' | 'right'"),
    (Left | Right, {"x": 1}, "Missing key: k.type"),
    (Left | Right, {"type": "right"}, "Missing key: k.x"),
    (Left | Right, 1, "Wrong type at k: expected dict, got int"),
    (Alone, {"type": "other", "x": 1}, "Invalid value at k.type: expected 'alone'"),
]


@pytest.mark.parametrize(("spec", "value", "text"), SINGLE, ids=lambda part: str(part)[:40])
def test_one_fault_is_one_problem_in_clear_words(spec: Any, value: Any, text: str) -> None:
    assert texts({"k": spec}, {"k": value}) == [text]


@pytest.mark.parametrize(("spec", "value", "text"), SINGLE, ids=lambda part: str(part)[:40])
def test_the_words_are_ours_whatever_msgspec_says(
    monkeypatch: pytest.MonkeyPatch, spec: Any, value: Any, text: str
) -> None:
    refused = explain._refused
    monkeypatch.setattr(
        explain, "_refused", lambda value, hint: refused(value, hint) and msgspec.ValidationError("in other words")
    )
    assert texts({"k": spec}, {"k": value}) == [text]


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        (Checked, {"low": 2, "high": 1}, "Invalid value at k: low is above high"),
        (Checked, {"low": 13, "high": 14}, "Invalid value at k: KeyError: 'thirteen'"),
        (Pair, [1, "a"], "Wrong type at k[1]: expected int, got str"),
        (Row, [1], "Invalid value at k: <reason>"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_the_rules_of_a_class_are_told_in_its_authors_words(spec: Any, value: Any, text: str) -> None:
    assert not unlike(texts({"k": spec}, {"k": value}), [text])


def test_a_rule_of_a_class_is_named_beside_other_problems() -> None:
    value = {"first": {"low": 2, "high": 1}, "second": {"low": 1, "high": "x"}}
    assert texts({"first": Checked, "second": Checked}, value) == [
        "Invalid value at first: low is above high",
        "Wrong type at second.high: expected int, got str",
    ]


def test_no_text_quotes_a_value() -> None:
    spec = {"a": Literal["x"], "b": Level, "c": Annotated[str, msgspec.Meta(pattern="^k")], "d": int, "e": Left | Right}
    secret = "hunter2"
    for line in texts(spec, dict.fromkeys("abcd", secret) | {"e": {"type": secret}}):
        assert secret not in line


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a-b", "a-b"),
        ("a.b", '["a.b"]'),
        ("", '[""]'),
        ("a[0]", '["a[0]"]'),
        ('"', '["\\""]'),
        ("a b", "a b"),
        ("ß", "ß"),
    ],
)
def test_a_key_that_would_blur_the_path_is_quoted(key: str, path: str) -> None:
    assert texts({key: int}, {}) == [f"Missing key: {path}"]
    assert problems({key: int}, {})[0].path == (key,)


MALFORMED = [
    (b"[]", "Wrong type at top level: expected dict, got list"),
    (b"null", "Wrong type at top level: expected dict, got None"),
    (b'"text"', "Wrong type at top level: expected dict, got str"),
    (b" ", "Not JSON: the data ends too early (byte 1)"),
    (b'{"a": 1', "Not JSON: the data ends too early (byte 7)"),
    (b'{"a": 1,}', "Not JSON: <reason> (byte 8)"),
    (b"{'a': 1}", "Not JSON: <reason> (byte 1)"),
    (b'{"a": 1} {}', "Not JSON: <reason> (byte 10)"),
    (b'{"a": NaN}', "Not JSON: NaN and Infinity are no JSON numbers (byte 6)"),
    (b'{"a": -Infinity}', "Not JSON: NaN and Infinity are no JSON numbers (byte 7)"),
    (b'{"a": 1, "x": NaN}', "Not JSON: NaN and Infinity are no JSON numbers (byte 14)"),
    (b'{"a": "x", "b": }', "Not JSON: <reason> (byte 16)"),
    (b'{"a": "\\ud800"}', "Not JSON: half of a surrogate pair (byte 7)"),
    (b'\xef\xbb\xbf{"a": 1}', "Not JSON: starts with a byte order mark (byte 0)"),
    (b'\xff\xfe{\x00"\x00', "Not UTF-8: 0xff cannot stand here (byte 0)"),
    (b'{"a": "\xc3("}', "Not UTF-8: 0xc3 cannot stand here (byte 7)"),
    (b'{"a": 1e999}', "Invalid value at a: <reason>"),
    (b'{"a": ' + b"[" * 100_000, "Not decodable: arrays or objects are nested too deep"),
    (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Not decodable: arrays or objects are nested too deep"),
    (b'{"x":' * 100_000, "Not decodable: arrays or objects are nested too deep"),
    (b'{"a": "x", "a": 1.5, "b": "', "Not JSON: the data ends too early (byte 27)"),
]


@pytest.mark.parametrize(("data", "text"), MALFORMED, ids=lambda part: str(part)[:40])
def test_bytes_that_are_no_object_are_one_problem(data: bytes, text: str) -> None:
    assert not unlike(texts({"a": float}, data), [text])


def test_without_a_schema_the_bytes_must_still_be_an_object() -> None:
    assert texts(None, b"3") == ["Wrong type at top level: expected dict, got int"]


def test_a_wrong_value_that_a_second_equal_key_hides_is_still_a_problem() -> None:
    assert texts({"a": int}, b'{"a": "x", "a": 1}') == ["Wrong type at a: expected int, got str"]


def test_long_lists_of_problems_are_cut_and_counted() -> None:
    lines = texts({"a": [int]}, {"a": ["x"] * 250})
    assert (len(lines), lines[99], lines[100]) == (
        101,
        "Wrong type at a[99]: expected int, got str",
        "... and 150 more",
    )


def test_the_counting_of_problems_ends_too() -> None:
    assert texts({"a": [int]}, {"a": ["x"] * 20_000})[-1] == "... and at least 10000 more"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("x", "Wrong type at items[1].price: expected float, got str"),
        (None, "Wrong type at items[1].price: expected float, got None"),
    ],
)
def test_large_data_gets_only_the_first_problem(item: Any, text: str) -> None:
    data = {"items": [{"price": 1}, {"price": item}, {"price": item}], "padding": "p" * MAX_WALKED_BYTES}
    assert texts({"items": [{"price": float}]}, data) == [text]


@pytest.mark.parametrize(
    ("spec", "data", "text"),
    [
        ({"a": {"b": int}}, {"a": {}}, "Missing key: a.b"),
        ({"a": Closed}, {"a": {"x": 1, "y": 1}}, "Unknown key: a.y"),
        ({"a": Literal["x"]}, {"a": "hunter2"}, "Invalid value at a: not one of the allowed values"),
        (
            {"a": GenericAlias(dict, (str, {"b": int}))},
            {"a": {"k": {"b": ""}}},
            "Wrong type at a.*.b: expected int, got str",
        ),
        ({"a": Checked}, {"a": {"low": 2, "high": 1}}, "Invalid value at a: low is above high"),
        ({"a": [int]}, {"a": {}}, "Wrong type at a: expected list, got dict"),
    ],
)
def test_msgspecs_own_words_become_ours(spec: Any, data: dict[str, Any], text: str) -> None:
    assert texts(spec, {**data, "padding": "p" * MAX_WALKED_BYTES}) == [text]


def test_large_data_that_is_no_json_is_still_told_apart() -> None:
    assert texts({"a": int}, b'{"p": "' + b"p" * MAX_WALKED_BYTES + b'\xff"}') == [
        f"Not UTF-8: 0xff cannot stand here (byte {7 + MAX_WALKED_BYTES})"
    ]


def test_the_time_of_an_explanation_grows_with_the_data_and_no_faster() -> None:
    count = MAX_WALKED_BYTES // 16
    began = time.process_time()
    assert texts({"a": [int]}, b'{"a":[' + b"1," * count + b'""]}') == [
        f"Wrong type at a[{count}]: expected int, got str"
    ]
    assert time.process_time() - began < 2.5  # and so below 20 s at the limit


def test_a_class_that_contains_itself_is_walked_without_recursion() -> None:
    depth = 200
    data = b'{"parts":[' * depth + b"{}" + b"]}" * depth
    lines = texts(Item, data)
    assert (len(lines), lines[0]) == (101, "Missing key: quantity")


def test_missing_params_are_the_top_level_keys_when_nothing_else_is_wrong() -> None:
    schema = compile_schema({"param1": str, "param2": int, "deep": {"a": int}}, where="p")

    def missing_params(data: bytes) -> list[str]:
        with pytest.raises(Invalid) as caught:
            schema.decode(data)
        return caught.value.missing_params

    assert missing_params(b"{}") == ["param1", "param2", "deep"]
    assert missing_params(b'{"deep": {"a": 1}, "param2": 1}') == ["param1"]
    assert missing_params(b'{"deep": {}}') == []
    assert missing_params(b'{"param1": 1, "deep": {"a": 1}}') == []
    assert missing_params(b"[") == []
