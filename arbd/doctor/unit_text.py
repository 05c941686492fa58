"""The text of a systemd unit, with its drop-ins, as values: lists, times, sizes, sets of CPUs. Pure.

What systemd means by a line is in systemd.unit(5), systemd.syntax(7) and systemd.time(7); of that, here is as much as
the units of daemons use. A value that cannot be read counts as not set: systemd ignores it, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

_SECONDS: Final = {
    **dict.fromkeys(("us", "usec", "µs"), 1e-6),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604_800.0),
}
_BYTES: Final = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SPAN: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]*)")
_AMOUNT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTB]?)")
_YES: Final = frozenset({"1", "yes", "y", "true", "t", "on"})
_MOST_CPUS: Final = 8192


class UnitLine(msgspec.Struct, frozen=True):
    """One assignment."""

    section: str
    name: str
    value: str


class Unit(msgspec.Struct, frozen=True):
    """One unit. ``name`` such as ``arbd@prices.service``; ``files`` it was read from; ``specifiers``: what stands for
    ``%i`` and others. ``is_loaded``: systemd itself has shown it."""

    name: str
    files: tuple[str, ...]
    lines: tuple[UnitLine, ...]
    specifiers: Mapping[str, str] = {}
    is_loaded: bool = False

    def all(self, name: str) -> list[str]:
        """Every value of a list, specifiers filled in; an empty one makes it begin anew."""
        found: list[str] = []
        for line in self.lines:
            if line.name == name:
                found = [*found, self._filled(line.value)] if line.value else []
        return found

    def last(self, name: str, default: str = "") -> str:
        """The value that counts of a setting that has one."""
        return (self.all(name) or [default])[-1]

    def words(self, name: str) -> list[str]:
        """The words of a list."""
        return [word for value in self.all(name) for word in value.split()]

    def is_on(self, name: str, *also: str) -> bool:
        """Whether a switch is on; ``also``: other words that count as on."""
        return self.last(name).lower() in {*_YES, *also}

    def seconds(self, name: str, default: float) -> float:
        """A length of time."""
        found = self.last(name)
        span = seconds_of(found) if found else None
        return default if span is None else span

    def size(self, name: str) -> float | None:
        """A number, or a number of bytes; infinity for ``infinity``; of ``soft:hard`` the hard one."""
        return amount_of(self.last(name).rpartition(":")[2])

    def cpus(self, name: str) -> frozenset[int]:
        """A set of CPUs; empty if it is not set."""
        return frozenset(cpu for value in self.all(name) for cpu in cpus_of(value))

    def _filled(self, value: str) -> str:
        return re.sub("%(.)", lambda match: self.specifiers.get(match[1], match[0]), value)


def parse(text: str) -> list[UnitLine]:
    """The assignments of a unit file, or of several one after the other, as ``systemctl cat`` shows them."""
    lines: list[UnitLine] = []
    section, left = "", ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            continue  # also between the parts of a line that goes on
        if stripped.endswith("\\"):
            left += stripped[:-1] + " "
            continue
        whole, left = (left + stripped).strip(), ""
        if whole.startswith("[") and whole.endswith("]"):
            section = whole[1:-1]
        elif "=" in whole:
            name, _, value = whole.partition("=")
            lines.append(UnitLine(section, name.strip(), value.strip()))
    return lines


def seconds_of(text: str) -> float | None:
    """A length of time such as ``5min 20s``; infinity for ``infinity``; ``None`` if it is none."""
    if text.strip() == "infinity":
        return math.inf
    total, place = 0.0, 0
    while place < len(text.rstrip()):
        match = _SPAN.match(text, place)
        if match is None or match[2] not in _SECONDS:
            return None
        total, place = total + float(match[1]) * _SECONDS[match[2]], match.end()
    return total if place else None


def amount_of(text: str) -> float | None:
    """A number with a unit of size, if it has one; ``None`` for what is none, such as a share of the machine."""
    if text == "infinity":
        return math.inf
    match = _AMOUNT.fullmatch(text)
    return None if match is None else float(match[1]) * _BYTES[match[2]]


def percent_of(text: str) -> float | None:
    """A share such as ``150%``, as a number: 1.5."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text.strip())
    return None if match is None else float(match[1]) / 100


def cpus_of(text: str) -> Iterator[int]:
    """The CPUs of a list such as ``0-3,8 12``; what cannot be read is left out."""
    for part in re.split(r"[\s,]+", text.strip()):
        first, is_range, last = part.partition("-")
        last = last if is_range else first
        if first.isdecimal() and last.isdecimal() and int(last) < _MOST_CPUS:
            yield from range(int(first), int(last) + 1)
