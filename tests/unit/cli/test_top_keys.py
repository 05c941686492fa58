"""Bytes of a terminal become keys, however they are cut, and nothing that is no key becomes a command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.cli.top.keys import Keys


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"pq?Y ", ["p", "q", "?", "Y", " "]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[1~\x1b[4~\x1b[H\x1b[F", ["page-up", "page-down", "home", "end", "home", "end"]),
        (b"\x1b[1;5A", ["up"]),  # with Ctrl
        (b"\r\n\t\x1b[Z\x0c\x0e\x10", ["enter", "enter", "tab", "back-tab", "ctrl-l", "down", "up"]),
        (b"\x1bk\x1by", []),  # with Alt
        (b"\x1b[<0;1;1M\x1b[?62c\x1b[99~\x1bOk", []),  # of a mouse, and what terminals say of themselves
        ("ÿ日k".encode(), ["k"]),
        (b"\x00\x01\x7f\x1a", []),
        (b"\x1b\x1b[A", ["esc", "up"]),
        (b"\x1b[200~dy\rk\x1b[A\x1b[201~q", ["q"]),  # pasted
    ],
)
def test_keys(data: bytes, expected: list[str]) -> None:
    keys = Keys()
    assert keys.feed(data) == expected
    assert not keys.pending
    one_by_one = Keys()
    assert [key for each in data for key in one_by_one.feed(bytes([each]))] == expected


def test_an_escape_is_a_key_when_nothing_follows() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.pending
    assert keys.end() == ["esc"]
    assert not keys.pending
    assert keys.end() == []


def test_a_sequence_that_is_cut_short_is_nothing() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b[1;") == []
    assert keys.end() == []
    assert keys.feed(b"k") == ["k"]


def test_a_sequence_without_an_end_is_none() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b[" + b"1" * 1000)[:2] == ["esc", "["]
    assert not keys.pending


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_whatever_comes_is_taken(chunks: list[bytes]) -> None:
    keys = Keys()
    for chunk in chunks:
        assert all(isinstance(key, str) and key for key in keys.feed(chunk))
    keys.end()
    assert not keys.pending
