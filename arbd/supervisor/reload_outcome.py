"""The outcome of a reload: what is in force now, what needs a restart, or why nothing has changed.

    asked (1) ─┐                                  ┌─> every listener of ``on_reloaded``
    asked (2) ─┴─> one load ──> ReloadOutcome(2) ─┴─> whoever waits for (1) or (2)

Requests are merged, so each has a number, and an outcome answers every request up to its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from arbd.settings.table import REDACTED, TABLE, Setting, Settings


class SettingChange(NamedTuple):
    """A setting that changed: its old and its new value, fit to be shown; secrets redacted."""

    old: Any
    new: Any


class ReloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a reload ended. ``failed``: why nothing has changed; empty: the new code and settings are in force.

    ``number``: that of the last request it answers. ``actions``: how many there are now. ``applied``: settings that
    changed, by name; ``needs_restart``: those that changed and stay as they were until the daemon is started anew.
    """

    number: int
    failed: str = ""
    actions: int = 0
    applied: dict[str, SettingChange] = {}
    needs_restart: dict[str, SettingChange] = {}


class Changes(NamedTuple):
    """The settings that follow from a reload: those to be in force, and what is said of the difference."""

    settings: Settings
    applied: dict[str, SettingChange]
    needs_restart: dict[str, SettingChange]


def changes(before: Settings, after: Settings) -> Changes:
    """What a reload makes of new settings: the reloadable ones of them, and the old ones of the rest."""
    applied: dict[str, SettingChange] = {}
    needs_restart: dict[str, SettingChange] = {}
    kept: dict[str, Any] = {}
    for setting in TABLE:
        old, new = getattr(before, setting.attribute), getattr(after, setting.attribute)
        if old == new:
            continue
        if setting.reloadable:
            applied[setting.name] = _shown(setting, old, new)
        else:
            needs_restart[setting.name] = _shown(setting, old, new)
            kept[setting.attribute] = old
    return Changes(msgspec.structs.replace(after, **kept), applied, needs_restart)


def _shown(setting: Setting, old: Any, new: Any) -> SettingChange:
    if setting.secret:
        return SettingChange(REDACTED if old else "", REDACTED if new else "")
    return SettingChange(old, new)


class Requests:
    """The requests for a reload, by number, and who waits for what became of them."""

    def __init__(self) -> None:
        self.last = 0
        self.on_reloaded: list[Callable[[ReloadOutcome], None]] = []
        self._waiting: dict[asyncio.Future[ReloadOutcome], int] = {}

    def add(self) -> int:
        """One more request; its number."""
        self.last += 1
        return self.last

    async def wait(self, number: int) -> ReloadOutcome:
        """The outcome of the request with this number."""
        future: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
        self._waiting[future] = number
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    def tell(self, outcome: ReloadOutcome) -> None:
        """Tell everybody who wants to know."""
        for future, number in list(self._waiting.items()):
            if number <= outcome.number and not future.done():
                future.set_result(outcome)
        for listener in list(self.on_reloaded):
            listener(outcome)
