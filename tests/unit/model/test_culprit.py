"""NaN and the infinities are refused with their path, wherever they hide, and nothing else is taken for them."""

from __future__ import annotations

import json
import math
import re
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs
import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import ResultError
from arbd.model.encoding import Encoder
from arbd.model.response import ProviderResponse, error, success

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
ENCODER = Encoder(provider="fx", timezone="UTC", utc_now=lambda: NOON)
KEEPS_NAN = Encoder(provider="fx", timezone="UTC", utc_now=lambda: NOON, nan="null")
NAN, INF = math.nan, math.inf


def path_of(data: Any) -> str | None:
    """Where a NaN was found; ``None`` if the result is sent."""
    try:
        ENCODER.encode("act", success(data))
    except ResultError as refusal:
        return str((refusal.data or {}).get("path"))
    return None


@dataclass
class Row:
    cell: Any
    other: Any = None


@attrs.define
class Attrs:
    cell: Any
    _hidden: float = NAN


class Item(msgspec.Struct, omit_defaults=True):
    value: Any = None
    quiet: float = NAN
    loud: Any = None


class Renamed(msgspec.Struct, rename="camel"):
    some_value: Any
    unset: Any = msgspec.UNSET


class Point(NamedTuple):
    x: float
    y: float | None


class Rate(float):
    pass


class Bad(Enum):
    NAN = NAN
    WORD = "null"


class Model(pydantic.BaseModel):
    typed: float = 0.0
    anything: Any = None
    rows: list[dict[str, Any]] = []


class Chosen(pydantic.BaseModel):
    """Its author says what a NaN becomes."""

    value: float = NAN

    @pydantic.field_serializer("value", when_used="json")
    def none(self, value: float) -> None:
        return None


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (NAN, "data"),
        (-INF, "data"),
        ({"a": [1, {"b": INF}]}, "data.a[1].b"),
        ({"a": None, "b": [None, None, NAN]}, "data.b[2]"),
        ((1.0, (NAN,)), "data[1][0]"),
        ({1: NAN}, "data[1]"),
        ({"a": {"x y": NAN}}, "data.a.x y"),
        ({NAN}, "data[0]"),
        (Rate(NAN), "data"),
        (Row(1, [Row(NAN)]), "data.other[0].cell"),
        (Attrs([NAN]), "data.cell[0]"),
        (Item(loud=NAN), "data.loud"),
        (Renamed(NAN), "data.some_value"),
        (Point(1.0, NAN), "data[1]"),
        (Bad.NAN, "data"),
        (deque([1, NAN]), "data[1]"),
        (MappingProxyType({"a": NAN}), "data.a"),
        (np.array([[0, 1], [NAN, 3]]), "data[1][0]"),
        (np.array([{"a": NAN}], object), "data[0].a"),
        ({"a": np.float32(NAN)}, "data.a"),
        (Model(typed=NAN), "data.typed"),
        (Model(anything=INF), "data.anything"),
        ([Model(rows=[{"a": 1}, {"a": NAN}])], "data[0].rows[1].a"),
        ([2**70, None, NAN], "data[2]"),  # MessagePack has no such int
    ],
    ids=str,
)
def test_a_number_that_is_none_is_refused_with_its_path(data: Any, path: str) -> None:
    assert path_of(data) == path
    assert "null" in KEEPS_NAN.encode("act", success(data)).decode()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [None] * 10,
        {"null": "null", "a": "x null y", "nan": "nan"},
        Item(),  # what is left out is not sent
        [Item(), None],
        Attrs(None),
        Renamed(None),
        Chosen(),
        [Chosen(), None],
        Bad.WORD,
        Decimal("NaN"),
        [Decimal("Infinity"), None],
        {NAN: 1, INF: None},  # a key is text
        [b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", None],  # what a NaN looks like when it is packed
        [0x7FF8_0000_CB7F_F000, None, 0xCB7F_F8FF_FFFF_FFFF],
        [2**70, None, Row(None)],
        [1.7976931348623157e308, -0.0, 5e-324, None],
    ],
    ids=str,
)
def test_nothing_else_is_taken_for_one(data: Any) -> None:
    assert ENCODER.encode("act", success(data)) == KEEPS_NAN.encode("act", success(data))


def test_the_refusal_says_what_helps() -> None:
    with pytest.raises(ResultError) as caught:
        ENCODER.encode("act", success({"sharpe": NAN}))
    assert str(caught.value) == (
        "The action returned something JSON has no form for: data.sharpe: float nan; "
        'replace it (math.isfinite tells), or set result.nan = "null" to have null sent for it'
    )
    assert caught.value.data == {"error_code": "RESULT_NOT_ENCODABLE", "path": "data.sharpe", "type": "float nan"}


def test_an_error_and_a_limit_keep_their_words() -> None:
    """What they say matters more than a number beside it."""
    for response in (error("no rate", {"last": NAN}), ProviderResponse("limit", "wait", {"left": INF, "wait_time": 1})):
        assert json.loads(ENCODER.encode("act", response))["message"] == response.message


def test_the_path_is_the_same_inside_metadata() -> None:
    encoder = Encoder(provider="fx", timezone="UTC", utc_now=lambda: NOON, envelope="metadata")
    with pytest.raises(ResultError, match=r"data\.a: float nan"):
        encoder.encode("act", success({"a": NAN}))


def first_non_finite(value: Any, path: str = "data") -> str | None:
    """The reference: written as plainly as can be."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        step = f".{key}" if isinstance(key, str) else f"[{key}]"
        if (found := first_non_finite(item, path + step)) is not None:
            return found
    return None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("null") | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner) | st.dictionaries(st.integers(), inner),
    max_leaves=15,
)


@given(VALUES)
def test_the_place_is_what_a_plain_search_says(value: Any) -> None:
    assert path_of(value) == first_non_finite(value)


@given(VALUES)
def test_what_is_sent_is_what_the_standard_library_reads(value: Any) -> None:
    def text_of(each: Any) -> Any:
        return bytes(each).hex()  # bytes are msgspec's business; both sides get the same text for them

    def plain(each: Any) -> Any:
        if isinstance(each, bytes):
            return text_of(each)
        if isinstance(each, dict):
            return {key: plain(item) for key, item in each.items()}
        return [plain(item) for item in each] if isinstance(each, list) else each

    data = plain(value)
    if first_non_finite(data) is None:
        assert json.loads(ENCODER.encode("act", success([data])))["data"] == [json.loads(json.dumps(data))]


def test_a_long_way_down_takes_no_stack() -> None:
    data: Any = NAN
    for _ in range(300):
        data = [data]
    assert path_of(data) == ("data" + "[0]" * 300)[:500]


def test_many_nones_cost_about_as_much_as_encoding_them_once_more() -> None:
    data = [None] * 200_000  # 1 MB of text
    ENCODER.encode("act", success(data))

    def best(encoder: Encoder) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            encoder.encode("act", success(data))
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(ENCODER) < 4 * best(KEEPS_NAN) + 0.005  # a walk in Python takes 20 times as long


def test_the_message_has_no_more_of_a_key_than_helps() -> None:
    with pytest.raises(ResultError) as caught:
        ENCODER.encode("act", success({"k" * 10_000: NAN}))
    assert re.fullmatch(r".*: data\.k{495}: float nan; .*", str(caught.value))
