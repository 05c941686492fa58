"""Problems of invalid data, as values: one :class:`Problem` for each, all of them in :class:`Invalid`.

Texts name where and what, never the value itself: an account holds secrets, and texts end up in logs.

    Missing key: profile.settings.notifications.sms
    Wrong type at items[2].price: expected float, got str
    Invalid value at items[2].quantity: expected int >= 1
    Unknown key: items[2].colour                     only where the author's class forbids unknown keys
    Not JSON: invalid character (byte 7)             nothing else is listed then: there is no data to look at

The words are ours, with three exceptions, whose words may change with a release of their authors' packages: why bytes
are not JSON (between "Not JSON:" and the place), what the rules of a class say, and what pydantic says of a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Kind = Literal["missing", "type", "value", "unknown", "json", "more"]
Path = tuple[str | int, ...]

MAX_PROBLEMS: Final = 100
"""Problems listed before the rest is only counted: an answer must not outgrow the payload it is about."""
MAX_COUNTED: Final = 10_000
"""Further problems counted before the walk ends: half a million of them take 3 s to find."""

_TYPE_NAMES: Final = {"NoneType": "None"}


class Problem(msgspec.Struct, frozen=True):
    """A problem of the data. ``path`` leads from the top level to it, ``text`` is the line for the caller.

    ``kind``: ``missing`` key, wrong ``type``, ``value`` of the right type that is not allowed, ``unknown`` key,
    ``json`` (the bytes are no JSON document), ``more`` (stands for the problems beyond the first hundred).
    """

    kind: Kind
    path: Path
    text: str


class Invalid(Exception):
    """The data does not fit its schema. ``problems`` lists everything that is wrong with it, never empty. Not in the
    tree of ``arbd.errors``: it never leaves a worker; whoever decodes turns it into a response."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.texts))

    @property
    def texts(self) -> list[str]:
        """The texts of all problems."""
        return [problem.text for problem in self.problems]

    @property
    def missing_params(self) -> list[str]:
        """The missing top-level keys, if they are all that is wrong (response shape 4); otherwise empty."""
        names = [p.path[0] for p in self.problems if p.kind == "missing" and len(p.path) == 1]
        return [str(name) for name in names] if len(names) == len(self.problems) else []


def missing(path: Path) -> Problem:
    """The problem that a required key is missing."""
    return Problem("missing", path, f"Missing key: {dotted(path)}")


def wrong_type(path: Path, expected: str, received: object) -> Problem:
    """The problem that a value has the wrong type. ``received`` is the value itself; only its type is told."""
    name = type(received).__name__
    return wrong_type_named(path, expected, _TYPE_NAMES.get(name, name))


def wrong_type_named(path: Path, expected: str, received: str) -> Problem:
    """The problem that a value has the wrong type, of which only the name is known."""
    place = dotted(path) or "top level"
    return Problem("type", path, f"Wrong type at {place}: expected {expected}, got {received}")


def invalid_value(path: Path, reason: str) -> Problem:
    """The problem that a value of the right type is not allowed."""
    return Problem("value", path, f"Invalid value at {dotted(path) or 'top level'}: {reason}")


def unknown(path: Path) -> Problem:
    """The problem that a class with ``forbid_unknown_fields`` does not have this key."""
    return Problem("unknown", path, f"Unknown key: {dotted(path)}")


def not_json(text: str) -> Problem:
    """The problem that the bytes are no JSON document."""
    return Problem("json", (), text)


def dotted(path: Path) -> str:
    """A path as text: ``items[2].price``. A key that would make it ambiguous is quoted: ``headers["x.y"]``."""
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif not step or any(mark in step for mark in ".[]\"'") or not step.isprintable():
            out += f"[{msgspec.json.encode(step).decode()}]"
        else:
            out += f".{step}" if out else step
    return out
