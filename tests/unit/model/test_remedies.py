"""A refusal says what to return instead, by the type at hand."""

from __future__ import annotations

import io
import re
import sqlite3
import types
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from fractions import Fraction
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from arbd.errors import ResultError
from arbd.model.encoding import Encoder
from arbd.model.response import success

ENCODER = Encoder(provider="fx", timezone="UTC", utc_now=lambda: datetime.now(UTC))


def remedy(data: Any) -> str:
    with pytest.raises(ResultError) as caught:
        ENCODER.encode("act", success({"x": data}))
    assert ": data.x" in str(caught.value)
    return str(caught.value).partition("; ")[2]


class Own:
    pass


class Convertible:
    def to_dict(self) -> dict[str, int]:
        return {}


def of_library(module: str, name: str, *bases: type) -> Any:
    """An instance of a class as that library has it."""
    return type(name, bases or (object,), {"__module__": module})()


async def agen() -> AsyncIterator[int]:
    yield 1


OTHERWISE = "return a dict, a dataclass or a msgspec.Struct with what the caller needs of it"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (1j, "return [z.real, z.imag] instead"),
        (np.complex128(1j), "return [z.real, z.imag] instead"),
        (np.complex64(1j), "return [z.real, z.imag] instead"),
        (np.clongdouble(1j), "return [z.real, z.imag] instead"),
        (np.array([1j]), "return [a.real, a.imag] instead"),
        ((n for n in [1]), "return list(...) of it instead"),
        (iter([1]), "return list(...) of it instead"),
        (map(str, [1]), "return list(...) of it instead"),
        ({"a": 1}.keys(), "return list(...) of it instead"),
        ({"a": 1}.values(), "return list(...) of it instead"),
        ({"a": 1}.items(), "return list(...) of it instead"),
        (agen(), "return [item async for item in ...] instead"),
        (io.StringIO("x"), "return what is in it, .read(), or its path"),
        (Own, "return an instance of it, or its __name__"),
        (ValueError("x"), "return str(...) of it, or raise it"),
        (Fraction(1, 3), "return float(...) or str(...) of it"),
        (re.compile("x"), "return its .pattern"),
        (len, "call it, and return what it returns"),
        (lambda: 1, "call it, and return what it returns"),
        (types.SimpleNamespace(a=1), "return vars(...) of it"),
        (ip_address("::1"), "return str(...) of it"),
        (object(), OTHERWISE),
        (Own(), OTHERWISE),
        (Convertible(), "return its .to_dict()"),
        ("\ud800", 'return text.encode("utf-8", "backslashreplace").decode() instead'),
        ({"\ud800": 1}, 'return text.encode("utf-8", "backslashreplace").decode() instead'),
        ({(1, 2): 3}, "use a str, str(...) of it for example"),
        ({None: 3}, 'use "null" or leave it out'),
        (of_library("pandas.core.frame", "DataFrame"), 'return df.to_dict("records") instead'),
        (of_library("pandas.core.series", "Series"), "return its .tolist() or .to_dict()"),
        (of_library("polars.dataframe.frame", "DataFrame"), "return its .to_dicts()"),
        (of_library("torch", "Tensor"), "return its .tolist()"),
        (of_library("requests.models", "Response"), "return its .json() or .text"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_the_remedy_fits_the_type(data: Any, words: str) -> None:
    assert remedy(data) == words


def test_a_coroutine_is_to_be_awaited() -> None:
    async def fetch() -> int:
        return 1

    coroutine = fetch()
    assert remedy({"deep": coroutine}) == "await it: an async function was called and its result not waited for"
    coroutine.close()


def test_a_row_of_a_database() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    [row] = connection.execute("select 1 as one").fetchall()
    connection.close()
    assert remedy(row) == "return dict(...) of it"


def test_a_set_inside_itself_has_a_remedy() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert remedy(loop).endswith("return something flatter, which does not contain itself")


def test_pandas_not_a_value_is_a_nan() -> None:
    not_a_value = of_library("pandas._libs.missing", "NAType")
    assert remedy(not_a_value).startswith("replace it")
