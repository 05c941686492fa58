"""The loggers, the root among them: level, handlers and filters, and whether they are disabled or propagate.

Read only where something has noticed a change, because a process may have hundreds of them: their methods, and the
setting of an attribute.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from arbd.worker.guard.kinds import StateKind
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace

_CHANGED_BY: Final = (
    *((logging.Logger, name) for name in ("setLevel", "addHandler", "removeHandler")),
    *((logging.Filterer, name) for name in ("addFilter", "removeFilter")),
    *((logging, name) for name in ("disable", "basicConfig", "shutdown")),
)
_ATTRIBUTES: Final = frozenset({"level", "handlers", "filters", "disabled", "propagate"})
_AS_MADE: Final = (logging.NOTSET, (), (), False, True)
_DISABLED: Final = "logging.disable"
_ROOT: Final = logging.getLogger()
_MANAGER: Final = logging.Logger.manager


class Loggers(StateKind):
    """Those loggers that are not as they are made, by name; and the level that is disabled for all of them."""

    name = "the loggers"

    def __init__(self) -> None:
        super().__init__(self.name, _read, _write, changed_by=_CHANGED_BY, adopts=True, describe=_changed_names)


def install() -> None:
    """Notice that an attribute of a logger is set, once it is made."""
    set_attribute: Any = None

    def __setattr__(self: logging.Logger, name: str, value: Any) -> None:
        is_changed = name in _ATTRIBUTES and name in self.__dict__
        set_attribute(self, name, value)
        if is_changed:
            NOTICES.changes(Loggers.name)

    set_attribute = replace(logging.Logger, "__setattr__", __setattr__)


def _read() -> dict[str, Any]:
    states: dict[str, Any] = {name: _state(logger) for name, logger in _all().items()}
    states = {name: state for name, state in states.items() if state != _AS_MADE}
    return {**states, _DISABLED: _MANAGER.disable}


def _state(logger: logging.Logger) -> tuple[Any, ...]:
    return (logger.level, tuple(logger.handlers), tuple(logger.filters), logger.disabled, logger.propagate)


def _write(before: dict[str, Any]) -> None:
    for name, logger in _all().items():
        if _state(logger) != (wanted := before.get(name, _AS_MADE)):
            logger.level, handlers, filters, logger.disabled, logger.propagate = wanted
            logger.handlers[:] = handlers
            logger.filters[:] = filters
    logging.disable(before[_DISABLED])  # forgets what they remember of their levels, too


def _all() -> dict[str, logging.Logger]:
    """Without what only stands for a logger that has children."""
    named = {name: each for name, each in list(_MANAGER.loggerDict.items()) if isinstance(each, logging.Logger)}
    return {**named, _ROOT.name: _ROOT}


def _changed_names(before: dict[str, Any], after: dict[str, Any]) -> str:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(names[:20])
