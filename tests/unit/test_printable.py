"""Text of others stays on its line, controls nothing, and says the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.printable import printable, printable_json, printable_json_bytes, printable_lines

CASES = [
    ("plain, also Привет, 日本 and 😀", "plain, also Привет, 日本 and 😀"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("\x9b31m", "\\x9b31m"),
    ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
    ("\u202eevil\u2066", "\\u202eevil\\u2066"),
    ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
    ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
    ("\x7f\x00", "\\x7f\\x00"),
    ("lone \ud800", "lone \\ud800"),
    ("tag \U000e0041", "tag \\U000e0041"),
]


@pytest.mark.parametrize(("text", "shown"), CASES)
def test_what_is_not_printable_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_one_line_of_printable_letters(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(st.characters(codec=None)))
def test_lines_stay_lines(text: str) -> None:
    assert printable_lines(text).count("\n") == text.count("\n")
    assert printable_lines(text).replace("\n", "").isprintable()


@given(st.text(st.characters(codec="utf-8")))
def test_json_says_the_same(text: str) -> None:
    document = printable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=1))
    assert json.loads(document) == {text: [text]}
    assert document.replace("\n", "").isprintable()


@given(st.text(st.characters(codec="utf-8")))
def test_what_an_encoder_has_made_says_the_same(text: str) -> None:
    document = printable_json_bytes(json.dumps(text, ensure_ascii=False).encode()).decode()
    assert json.loads(document) == text
    assert document.isprintable()
