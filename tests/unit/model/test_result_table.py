"""The table of docs/write.md of what a result may be is true, row by row."""

from __future__ import annotations

import json
import re
from array import array
from collections import ChainMap, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from documents import text_of

from arbd.errors import ResultError
from arbd.model.encoding import Encoder
from arbd.model.response import success

ENCODER = Encoder(provider="fx", timezone="UTC", utc_now=lambda: datetime.now(UTC))
_CODE = re.compile(r"`([^`]+)`")


@dataclass
class Row:
    name: str
    count: int


class Colour(Enum):
    RED = "red"


NAMES: dict[str, Any] = {
    each.__name__: each
    for each in (Row, Colour, ChainMap, deque, date, datetime, timedelta, Decimal, Path, UUID, array)
} | {"UTC": UTC, "np": np, "MappingProxyType": MappingProxyType}


def rows(after: str) -> list[tuple[str, str]]:
    """The two cells of each row of the first table behind these words."""
    behind = text_of("docs/write.md").partition(after)[2]
    lines = behind.partition("|---|---|\n")[2].split("\n\n")[0].splitlines()
    return [(left, right) for _, left, right, _ in (re.split(r" ?\| ?", line) for line in lines)]


def values(cell: str) -> list[Any]:
    """What the code in a cell makes; the names of libraries that stand there as well are none of ours."""
    return [eval(code, dict(NAMES)) for code in _CODE.findall(cell) if code != "msgspec.Struct"]


ROWS = rows("### What a result may be")


@pytest.mark.parametrize(("left", "right"), ROWS, ids=[left[:40] for left, _ in ROWS])
def test_a_row(left: str, right: str) -> None:
    expected = [json.loads(code) for code in _CODE.findall(right)]
    assert [json.loads(ENCODER.encode("act", success([each])))["data"][0] for each in values(left)] == expected


def test_all_rows_are_read() -> None:
    assert len(ROWS) == 12


@pytest.mark.parametrize(("left", "right"), [row for row in rows("Anything else is refused") if "`" in row[0]][:2])
def test_a_refusal(left: str, right: str) -> None:
    for code in _CODE.findall(left):
        with pytest.raises(ResultError) as caught:
            ENCODER.encode("act", success(eval(code)))
        assert str(caught.value).endswith(right)
