"""What is typed on a terminal: bytes in, names of keys out. Pure.

A printable character is its own name. Unknown escape sequences, such as those of a key with Alt, are nothing, so that
no part of one is taken for a command; nor is what is pasted, where the terminal says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_NAMED: Final = {"\r": "enter", "\n": "enter", "\t": "tab", "\x0c": "ctrl-l", "\x0e": "down", "\x10": "up"}
_FINAL: Final = {"A": "up", "B": "down", "H": "home", "F": "end", "Z": "back-tab"}
_TILDE: Final = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "page-up", "6": "page-down"}
_SEQUENCE: Final = re.compile(r"\x1b(?:\[([0-?]*)[ -/]*([@-~])|O([ -~])|([^\[O\x1b]))")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_PASTE: Final = {"\x1b[200~": True, "\x1b[201~": False}  # it begins, it ends
_LONGEST: Final = 64  # no sequence has more characters: what has is none


class Keys:
    """The keys of one terminal. ``pending``: an escape was read, and nobody can tell yet whether more follows."""

    def __init__(self) -> None:
        self._rest = ""
        self._is_paste = False

    @property
    def pending(self) -> bool:
        """Whether ``end`` is to be called if nothing more comes for a moment."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """The keys in what was read."""
        text, self._rest = self._rest + data.decode("ascii", "ignore"), ""
        return list(self._keys(text))

    def end(self) -> list[str]:
        """Nothing more came: the escape that is pending was the key of that name, or a sequence was cut short."""
        rest, self._rest = self._rest, ""
        return ["esc"] if rest == "\x1b" else []

    def _keys(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                if not self._is_paste and (text[at] in _NAMED or text[at].isprintable()):
                    yield _NAMED.get(text[at], text[at])
                at += 1
                continue
            whole = _SEQUENCE.match(text, at)
            if whole is None:
                if _UNFINISHED.fullmatch(text, at) and len(text) - at < _LONGEST:
                    self._rest = text[at:]
                    return
                yield "esc"  # what follows is no part of a sequence
                at += 1
                continue
            at = whole.end()
            if whole[0] in _PASTE:
                self._is_paste = _PASTE[whole[0]]
            elif not self._is_paste and (name := _name(whole)):
                yield name


def _name(sequence: re.Match[str]) -> str:
    parameters, final, after_o, _ = sequence.groups()
    if final == "~":
        return _TILDE.get(parameters.partition(";")[0], "")
    return _FINAL.get(final or after_o or "", "")
