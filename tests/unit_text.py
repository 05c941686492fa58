"""Unit files of systemd, read: their sections, each with its assignments in order."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from documents import ROOT

UNITS: Final = ROOT / "systemd"


class Unit:
    """One unit file."""

    def __init__(self, path: Path) -> None:
        self.lines: list[tuple[str, str, str]] = []
        section = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                name, _, value = line.partition("=")
                self.lines.append((section, name, value))

    def all(self, name: str) -> list[str]:
        """Every value that a setting is given."""
        return [value for _, each, value in self.lines if each == name]

    def one(self, name: str) -> str:
        """The value of a setting that is given once."""
        (value,) = self.all(name)
        return value

    def seconds(self, name: str) -> float:
        """A time in seconds."""
        value = self.one(name)
        return float(value.removesuffix("min")) * 60 if value.endswith("min") else float(value.removesuffix("s"))
