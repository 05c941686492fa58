"""Settings, and values of settings, that earlier versions had: whoever still gives one gets a warning with the remedy.

A retired setting is ignored. In place of a retired value that no later layer overrides the default counts. Pure;
``arbd.settings.table`` asks for everything that its layers give.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class Retired(msgspec.Struct, frozen=True):
    """One row: a dotted name and what to do instead; ``value``: the one that is retired, ``None``: the setting is."""

    name: str
    remedy: str
    value: str | None = None

    @property
    def variable(self) -> str:
        """The environment variable of a setting that is retired."""
        return f"ARBD_{self.name.replace('.', '_').upper()}"

    def warning(self, origin: str) -> str:
        """What is said about it; ``origin``: where it was given."""
        if self.value is None:
            return f"{origin}: {self.name} is retired, and ignored; {self.remedy}"
        return f"{origin}: {self.name} is {self.value!r}, which is retired; {self.remedy}"


RETIRED: Final = (
    Retired("hub.links", "remove it, or set a number of processes; it counts as 0", value="auto"),
    Retired("hub.piggyback", "remove it: tasks come by polls alone"),
)
NAMES: Final = frozenset(row.name for row in RETIRED if row.value is None)
NAME_OF_VARIABLE: Final = {row.variable: row.name for row in RETIRED if row.value is None}


def find(name: str, raw: Any) -> Retired | None:
    """The row for what was given, if it is retired."""
    return next((row for row in RETIRED if row.name == name and row.value in (None, raw)), None)
