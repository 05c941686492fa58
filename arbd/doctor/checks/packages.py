"""The versions of the packages that arbd stands on, against those that it was made for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn

_NUMBERS: Final = re.compile(r"\d+")
_BOUND: Final = re.compile(r"\s*(>=|<=|<|>|==|!=)\s*([0-9][0-9a-zA-Z.]*)\s*")


class PackageFacts(msgspec.Struct, frozen=True):
    """One package that arbd requires: the bounds as arbd's own metadata has them, and what is installed; empty: it is
    not."""

    name: str
    bounds: str
    installed: str


def check_packages(facts: Sequence[PackageFacts]) -> Iterator[Finding]:
    """Whether each is one that arbd was tested with."""
    findings = [finding for package in facts for finding in _check(package)]
    yield from findings
    if not findings:
        told = "every package is of a version that it was made for" if facts else "it is not installed as a package"
        yield ok("packages", f"arbd: {told}")


def _check(facts: PackageFacts) -> Iterator[Finding]:
    if not facts.installed:
        yield fail(
            "packages",
            f"{facts.name} is not installed",
            "arbd needs it",
            f"pip install '{facts.name}{facts.bounds}', with the pip of arbd's own environment",
        )
    elif not fits(facts.installed, facts.bounds):
        yield warn(
            "packages",
            f"{facts.name} {facts.installed} is installed, and arbd asks for {facts.bounds}",
            "it was never tried together",
            f"pip install '{facts.name}{facts.bounds}', with the pip of arbd's own environment",
        )


def fits(version: str, bounds: str) -> bool:
    """Whether a version is within bounds such as ``>=1.66,<2``; a bound that cannot be read counts as met."""
    return all(_meets(_numbers(version), match) for part in bounds.split(",") if (match := _BOUND.fullmatch(part)))


def _meets(version: tuple[int, ...], bound: re.Match[str]) -> bool:
    sign, wanted = bound[1], _numbers(bound[2])
    length = max(len(version), len(wanted))
    one, other = (numbers + (0,) * (length - len(numbers)) for numbers in (version, wanted))
    return {
        ">=": one >= other,
        "<=": one <= other,
        "<": one < other,
        ">": one > other,
        "==": one == other,
        "!=": one != other,
    }[sign]


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the front; what marks an early release does not count."""
    front = re.match(r"[0-9.]*", version)
    return tuple(int(number) for number in _NUMBERS.findall(front[0] if front else ""))
