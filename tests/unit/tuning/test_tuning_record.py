"""A record survives its file; what is none is refused with a reason."""

from __future__ import annotations

import json

import pytest
from tuning_support import BASE, record

from arbd.tuning.record import Record, RecordError, decode, encode

FOUND = record({BASE: [100.0, 101.0]})


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(encode(FOUND)), **fields}).encode()


def test_what_is_written_is_read_again() -> None:
    assert decode(encode(FOUND)) == FOUND


def test_the_file_is_text_of_many_lines() -> None:
    assert encode(FOUND).count(b"\n") > 40


def test_a_field_of_a_later_version_is_passed_over() -> None:
    assert decode(changed(weather="fine")) == FOUND


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not written by"),
        (b"[1]", "not written by"),
        (b"\xff\xfe", "not written by"),
        (b"[" * 100_000, "not written by"),
        (b"{}", "not written by"),
        (changed(format=2), "its format is 2, this arbd reads 1"),
        (encode(FOUND).replace(b'"window_s": 10.0', b'"window_s": 0'), "took no time"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        decode(data)


def test_defaults_let_an_older_file_be_read() -> None:
    document = json.loads(encode(FOUND))
    for name in ("complete", "format"):
        del document[name]
    del document["measurements"][0]["point"]["links"]
    found: Record = decode(json.dumps(document).encode())
    assert found == FOUND
