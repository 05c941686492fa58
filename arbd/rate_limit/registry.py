"""The registry of all built-in monitors that exist, in order of construction, wherever their authors keep them.

import of the author's module   monitors register themselves
zygote: collect(provider)       from now on their number is their place in the ledger; later ones are local
worker: the same numbers        by fork, or by the same import again
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from weakref import ref

import msgspec

from arbd.model.limit_spec import LimitSpec, Scope


class Registered(Protocol):
    """A monitor, as far as it matters here."""

    spec: LimitSpec


_monitors: list[ref[Registered]] = []
_sealed = False


def add(monitor: Registered) -> None:
    """Register a monitor, by a weak reference."""
    _monitors.append(ref(monitor))


def seal() -> None:
    """Declare this process a worker: a monitor that is made from now on has no place in the ledger."""
    global _sealed
    _sealed = True


def is_sealed() -> bool:
    """Whether this process is a worker of a daemon."""
    return _sealed


def collect(provider: Any) -> list[Registered]:
    """The monitors that exist now, each with a unique name; the caller keeps them alive."""
    living = [monitor for reference in _monitors if (monitor := reference()) is not None]
    _monitors[:] = [ref(monitor) for monitor in living]
    actions_of: dict[int, list[str]] = {}
    for name, action in provider.actions.items():
        actions_of.setdefault(id(action.rate_limit_monitor), []).append(name)
    taken: set[str] = set()
    for number, monitor in enumerate(living, start=1):
        scope, place, actions = _place(monitor, provider, actions_of)
        name = _unused(monitor.spec.name or place or f"limit {number}", taken)
        taken.add(name)
        monitor.spec = msgspec.structs.replace(monitor.spec, name=name, scope=scope, actions=actions)
    return living


def _place(
    monitor: Registered, provider: Any, actions_of: Mapping[int, list[str]]
) -> tuple[Scope, str | None, list[str]]:
    """The scope of a monitor, a name for the place it was put, and the actions it was put on. ``actions_of`` has these
    by the ``id`` of their monitor."""
    if provider.rate_limit_monitor is monitor:
        return "provider", "provider", []
    if actions := actions_of.get(id(monitor)):
        return "action", f"action {actions[0]}", actions
    if provider.actions.default_monitor is monitor:
        return "action", "default of actions", actions_of.get(id(None), [])
    attributes = [name for name, value in vars(provider).items() if value is monitor]
    return "by hand", attributes[0] if attributes else None, []


def _unused(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} #{number}"
    return candidate
