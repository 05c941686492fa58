"""``msgspec.Raw`` in a result: what is no JSON is refused by its place; nothing is looked through until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from arbd.errors import ResultError
from arbd.model.encoding import Encoder
from arbd.model.response import ProviderResponse


class Holder(msgspec.Struct):
    """A struct with some."""

    raw: msgspec.Raw


@dataclass
class Held:
    """A dataclass with some."""

    raw: Any


@pytest.fixture(params=["plain", "metadata"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return Encoder(provider="p", timezone="UTC", utc_now=lambda: datetime.now(UTC), envelope=request.param)


BAD = [b"NaN", b"{oops", b"", b"1 2", b'1,"status":"error"', b'"\xff"', b"[1", b'{"a": NaN}']


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize(
    ("data", "path"),
    [
        (lambda raw: raw, "data"),
        (lambda raw: {"a": [1, raw]}, "data.a[1]"),
        (lambda raw: Holder(raw), "data.raw"),
        (lambda raw: [Held({"x": raw})], "data[0].raw.x"),
    ],
)
def test_what_is_no_json_is_refused_by_its_place(encoder: Encoder, text: bytes, data: Any, path: str) -> None:
    response = ProviderResponse("success", None, data(msgspec.Raw(text)))
    for encode in (encoder.encode, encoder.encode_any_size):
        with pytest.raises(ResultError) as caught:
            encode("act", response)
        assert (caught.value.data or {})["path"] == path
        assert "msgspec.Raw" in (caught.value.data or {})["type"]


def test_what_is_json_is_sent_as_it_is(encoder: Encoder) -> None:
    text = encoder.encode("act", ProviderResponse("success", None, {"a": msgspec.Raw(b'[1, {"b": null}]')}))
    data = json.loads(text)["data"]
    assert data.get("response", data) == {"a": [1, {"b": None}]}


ALONE = """
import sys
from datetime import datetime
from arbd.model.encoding import Encoder
import msgspec.inspect
encoder = Encoder(provider="p", timezone="UTC", utc_now=datetime.now)
msgspec.inspect.type_info(int)
before = encoder._encode == encoder._encode_unseen
from msgspec import Raw
assert Raw is msgspec.Raw and msgspec.json.decode(b"1", type=Raw) == Raw(b"1")
print(before, encoder._encode == encoder._encode_unseen, hasattr(msgspec, "Row"))
"""


def test_nothing_is_looked_through_until_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False"]
