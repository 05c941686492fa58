"""The glossary: each word once, in order, and with a file that is there and knows the word."""

from __future__ import annotations

import re

from documents import ROOT, rows, text_of

_ROWS = [(word.strip("*"), meaning, place.strip("`")) for word, meaning, place in rows(text_of("docs/glossary.md"))]


def test_each_word_has_one_line_in_alphabetical_order() -> None:
    words = [word for word, _, _ in _ROWS]
    assert words == sorted(set(words))


def test_each_file_is_there() -> None:
    assert [place for _, _, place in _ROWS if not (ROOT / place).is_file()] == []


def test_each_file_knows_its_word() -> None:
    """By its first part: "lease of a limit" is a lease there."""
    strangers = []
    for word, _, place in _ROWS:
        source = (ROOT / place).read_text().lower() if (ROOT / place).is_file() else ""
        first = re.split(r" of | ", word)[0]
        if word.replace(" ", "_") not in source and word not in source and first not in source:
            strangers.append(f"{word}: {place}")
    assert strangers == []
