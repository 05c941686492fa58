"""Text of others as it may be shown: it controls no terminal, and forges no line.

Whatever Unicode calls not printable is written as its escape: ESC and what begins with it, C1 controls, line and
paragraph separators, overrides of the direction of writing, invisible letters, lone surrogates.
"""

from __future__ import annotations

import re
from typing import Final

_NEVER_IN_JSON: Final = re.compile(r"[^\n\x20-\x7e]")


def printable(text: str) -> str:
    """A text as one line, with whatever is not printable as its escape."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """A text whose lines are its own, such as a traceback: each as ``printable`` has it."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: str) -> str:
    """A JSON document that says the same in letters that are printable: others become ``\\uXXXX``."""
    return _NEVER_IN_JSON.sub(_as_json, document)


def printable_json_bytes(document: bytes) -> bytes:
    """What an encoder of JSON has made, in letters that are printable. Those escape what is below a space; not DEL, C1
    controls, or what turns the direction of writing."""
    if document.isascii() and b"\x7f" not in document:
        return document
    return printable_json(document.decode()).encode()


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()


def _as_json(found: re.Match[str]) -> str:
    letter = found[0]
    if letter.isprintable():
        return letter
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
