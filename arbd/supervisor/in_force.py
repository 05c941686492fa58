"""The settings in force: held in one place, which tells every part of the supervisor of new ones.

the first worker of code that was loaded again is ready ─> reload ─┐
a token was read again from its file, another log level ─> change ─┴─> each part, in the order they were added
"""

from __future__ import annotations

from collections.abc import Callable

from arbd.settings.table import Settings

Part = Callable[[Settings], None]


class InForce:
    """The settings in force. What may change is read here when it is needed, and not kept. ``next_start``: those that
    the daemon would start with now, as far as it has read them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.next_start = settings
        self._parts: list[tuple[Part, Part]] = []

    def add(self, part: Part, reloaded: Part | None = None) -> None:
        """Have this part told of every change from now on. ``reloaded``: told in its place of those that come of a
        reload, also where they are equal: files that they name may have changed."""
        self._parts.append((part, reloaded or part))

    def change(self, settings: Settings) -> None:
        """Put these in force, everywhere."""
        self._put(settings, [part for part, _ in self._parts])

    def reload(self, settings: Settings, next_start: Settings) -> None:
        """Put these in force, everywhere, as a reload has found them."""
        self.next_start = next_start
        self._put(settings, [reloaded for _, reloaded in self._parts])

    def _put(self, settings: Settings, parts: list[Part]) -> None:
        self.settings = settings
        for part in parts:
            if self.settings is not settings:
                return  # a part has changed them: everybody has been told of those
            part(settings)
