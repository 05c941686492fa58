"""The settings in force: held in one place, which tells every part of the supervisor of new ones.

reload: the first worker of the new code is ready ─┐
a token was read again from its file ──────────────┴─> InForce.change ─> each part, in the order they were added
"""

from __future__ import annotations

from collections.abc import Callable

from arbd.settings.table import Settings

Part = Callable[[Settings], None]


class InForce:
    """The settings in force. What may change is read here when it is needed, and not kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Have this part told of every change from now on."""
        self._parts.append(part)

    def change(self, settings: Settings) -> None:
        """Put these in force, everywhere."""
        self.settings = settings
        for part in self._parts:
            part(settings)
