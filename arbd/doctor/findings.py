"""What a check found, in three levels, with why it matters and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Level = Literal["ok", "warn", "fail"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warn", "fail")


class Finding(msgspec.Struct, frozen=True, rename={"remedy": "do"}):
    """What one check found. ``check``: its name, the topic before the dot. ``why`` and ``remedy`` are empty where all
    is well."""

    check: str
    level: Level
    what: str
    why: str = ""
    remedy: str = ""

    @property
    def topic(self) -> str:
        """The group of checks that it belongs to."""
        return self.check.partition(".")[0]


def ok(check: str, what: str) -> Finding:
    """All is well; ``what`` says how it is."""
    return Finding(check, "ok", what)


def warn(check: str, what: str, why: str, remedy: str) -> Finding:
    """It works, and worse than it could, or not in every case."""
    return Finding(check, "warn", what, why, remedy)


def fail(check: str, what: str, why: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, "fail", what, why, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of them."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
