"""Each type that msgspec does not know has its JSON form, or is refused; numpy is never imported for that."""

from __future__ import annotations

import array
import enum
import json
import math
import subprocess
import sys
import uuid
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import ResultError
from arbd.model.encoding import Encoder
from arbd.model.json_forms import MAX_ELEMENTS
from arbd.model.response import success

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
ENCODER = Encoder(provider="fx", timezone="UTC", utc_now=lambda: NOON)
KEEPS_NAN = Encoder(provider="fx", timezone="UTC", utc_now=lambda: NOON, nan="null")


def sent(data: Any) -> Any:
    return json.loads(ENCODER.encode("act", success({"v": data})))["data"]["v"]


def refused(data: Any) -> str:
    with pytest.raises(ResultError) as caught:
        ENCODER.encode("act", success(data))
    return str(caught.value)


class Colour(enum.Enum):
    RED = "red"


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Stamp(datetime):
    pass


class Span(timedelta):
    pass


class Blob(bytes):
    pass


class Tensor:
    """An array without dimensions of a library that nobody has heard of."""

    shape = ()

    def item(self) -> float:
        return 2.5


@pytest.mark.parametrize(
    ("data", "form"),
    [
        pytest.param(Path("/a/b"), "/a/b", id="Path"),
        pytest.param(PurePosixPath("a"), "a", id="PurePosixPath"),
        pytest.param(PureWindowsPath("c:/x"), "c:\\x", id="PureWindowsPath"),
        pytest.param(range(1, 7, 2), [1, 3, 5], id="range"),
        pytest.param(range(0), [], id="empty range"),
        pytest.param(deque([1, {"a": deque([2])}]), [1, {"a": [2]}], id="deque"),
        pytest.param(array.array("d", [0.5, 1]), [0.5, 1.0], id="array.array"),
        pytest.param(UserList([1]), [1], id="UserList"),
        pytest.param(UserString("a"), "a", id="UserString"),
        pytest.param(UserDict(a=1), {"a": 1}, id="UserDict"),
        pytest.param(ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}, id="ChainMap"),
        pytest.param(Counter("aab"), {"a": 2, "b": 1}, id="Counter"),
        pytest.param(OrderedDict(a=1), {"a": 1}, id="OrderedDict"),
        pytest.param(defaultdict(list, a=[1]), {"a": [1]}, id="defaultdict"),
        pytest.param(frozenset([1]), [1], id="frozenset"),
        pytest.param((1, 2), [1, 2], id="tuple"),
        pytest.param(Colour.RED, "red", id="Enum"),
        pytest.param(Bits.ONE | Bits.TWO, 3, id="IntFlag"),
        pytest.param(uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", id="UUID"),
        pytest.param(Decimal("1.50"), "1.50", id="Decimal"),
        pytest.param(Decimal("NaN"), "NaN", id="a Decimal is text, whatever it is"),
        pytest.param(date(2024, 7, 1), "2024-07-01", id="date"),
        pytest.param(time(12, 30), "12:30:00", id="time"),
        pytest.param(timedelta(days=1, seconds=2.5), "P1DT2.5S", id="timedelta"),
        pytest.param(Stamp(2024, 7, 1), "2024-07-01T00:00:00", id="datetime subclass"),
        pytest.param(Span(days=1), "P1D", id="timedelta subclass"),
        pytest.param(b"ab", "YWI=", id="bytes"),
        pytest.param(bytearray(b"ab"), "YWI=", id="bytearray"),
        pytest.param(memoryview(b"ab"), "YWI=", id="memoryview"),
        pytest.param(Blob(b"ab"), "YWI=", id="bytes subclass"),
        pytest.param(Tensor(), 2.5, id="a scalar of an unknown library"),
        pytest.param(2**64, 2**64, id="an int of more than 64 bits"),
        pytest.param(-(2**200), -(2**200), id="a far larger one"),
        pytest.param({True: 1, False: 2}, {"true": 1, "false": 2}, id="bool keys, as in json"),
        pytest.param({1: 1, 1.5: 2, Colour.RED: 3, date(2024, 7, 1): 4}, None, id="other keys"),
    ],
)
def test_a_type_of_the_standard_library(data: Any, form: Any) -> None:
    if form is None:
        form = {"1": 1, "1.5": 2, "red": 3, "2024-07-01": 4}
    assert sent(data) == form


@pytest.mark.parametrize(
    ("data", "form"),
    [
        *((kind(7), 7) for kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)),
        *((kind(0.5), 0.5) for kind in (np.float16, np.float32, np.float64, np.longdouble)),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.bytes_(b"ab"), "YWI="),
        (np.datetime64("2024-07-01"), "2024-07-01"),
        (np.datetime64("2024-07"), "2024-07"),
        (np.datetime64("2024-07-01T12:00:00.000000001"), "2024-07-01T12:00:00.000000001"),
        (np.timedelta64(1, "D"), "P1D"),
        (np.timedelta64(1500, "ms"), "PT1.5S"),
        (np.timedelta64(1_500_000_001, "ns"), "PT1.500000001S"),
        (np.timedelta64(-1, "ns"), "-PT0.000000001S"),
        (np.timedelta64(3, ("s", 25)), "PT75S"),
        (np.timedelta64(2, "Y"), "P2Y"),
        (np.timedelta64(-3, "M"), "-P3M"),
        (np.array(3), 3),
        (np.array("a"), "a"),
        (np.array([]), []),
        (np.zeros((2, 0)), [[], []]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.arange(6)[::-2], [5, 3, 1]),
        (np.asfortranarray([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array([b"ab"]), ["YWI="]),
        (np.array([0.5], np.longdouble), [0.5]),
        (np.array([[0.5]], np.longdouble), [[0.5]]),
        (np.array([0.5], np.float16), [0.5]),
        (np.array(["2024-07-01"], "M8[D]"), ["2024-07-01"]),
        (np.array(1, "m8[s]"), "PT1S"),
        (np.array([{"a": deque([1])}, Path("x"), np.int8(1)], object), [{"a": [1]}, "x", 1]),
        (np.array([(1, "a")], [("n", "i4"), ("s", "U1")]), [{"n": 1, "s": "a"}]),
        (np.ma.array([1, 2], mask=[False, True]), [1, None]),
        (np.ma.masked, None),
        ({np.int64(7): np.int8(2), np.str_("s"): 3, np.bool_(True): 4, np.float64(0.5): 5}, None),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, (np.generic, np.ndarray)) else "",
)
def test_a_type_of_numpy(data: Any, form: Any) -> None:
    if isinstance(data, dict):
        form = {"7": 2, "s": 3, "true": 4, "0.5": 5}
    assert sent(data) == form


DTYPES = st.sampled_from(["i1", "u2", "i8", "u8", "f2", "f4", "f8", "?"])


@given(DTYPES, st.lists(st.integers(0, 100), max_size=12), st.integers(1, 3))
def test_an_array_comes_back_as_numpy_lists_it(dtype: str, numbers: list[int], width: int) -> None:
    flat = np.array(numbers, dtype)
    data = flat[: len(flat) // width * width].reshape(-1, width)
    assert sent(data) == data.tolist()
    assert sent(list(flat)) == flat.tolist()
    assert sent({str(index): value for index, value in enumerate(flat)}) == dict(
        zip(map(str, range(len(flat))), flat.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    "data", [np.zeros(MAX_ELEMENTS + 1, np.int8), range(MAX_ELEMENTS + 1), range(10**30), np.zeros((2, MAX_ELEMENTS))]
)
def test_too_many_elements_are_refused_without_being_made(data: Any) -> None:
    assert "return a part or a summary of it" in refused({"a": [data]})
    assert "data.a[0]: " in refused({"a": [data]})


def test_as_many_elements_as_may_be_are_sent() -> None:
    assert len(sent(np.zeros(MAX_ELEMENTS, np.int8))) == MAX_ELEMENTS


@pytest.mark.parametrize(
    "data",
    [
        np.complex64(1j),
        np.complex128(1j),
        np.clongdouble(1j),
        np.array([1j]),
        np.array(1j),
        np.array([[1, 1j]], object),
        np.dtype("i4"),
        np.int64,
        np.random.default_rng(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_numpy_has_and_json_has_not(data: Any) -> None:
    assert "data.x" in refused({"x": data})


@pytest.mark.parametrize(
    "data",
    [
        np.float32("nan"),
        np.float16("inf"),
        np.longdouble("-inf"),
        np.datetime64("NaT", "s"),
        np.timedelta64("NaT", "s"),
        np.nan,
    ],
    ids=str,
)
def test_not_a_number_of_numpy_s_is_one_here(data: Any) -> None:
    assert "data.x[0]: " in refused({"x": [data]})
    assert "data.x[0]: " in refused({"x": np.array([data])})
    assert json.loads(KEEPS_NAN.encode("act", success([data, np.array([data])]))) == {
        "status": "success",
        "data": [None, [None]],
    }


class Huge:
    shape = ()

    def item(self) -> Huge:
        return self


class Broken:
    @property
    def shape(self) -> tuple[()]:
        raise OSError("no")


@pytest.mark.parametrize("data", [Huge(), Broken()], ids=lambda value: type(value).__name__)
def test_an_object_that_looks_like_an_array_and_is_none(data: Any) -> None:
    assert "data.x: " in refused({"x": data})


def test_classes_without_end_are_not_kept() -> None:
    """An action may make a class for each task."""
    for number in range(2100):
        assert sent(type("Text", (str,), {})(number)) == str(number)


def test_a_long_double_beyond_a_double_is_no_finite_number() -> None:
    if math.isinf(float(np.finfo(np.longdouble).max)):  # on this machine it has more range than a double
        assert "data.x: " in refused({"x": np.finfo(np.longdouble).max})


def test_no_library_is_imported() -> None:
    code = (
        "import sys; from arbd.model import encoding, remedies\n"
        "print([name for name in ('numpy', 'pandas', 'pydantic', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
