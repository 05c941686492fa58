"""The loggers, the root among them, and their handlers: levels, handlers, filters, formats; what ``logging`` knows of
levels, and what it disables.

Read only where something has noticed a change, because a process may have hundreds of them: their methods, the setting
of an attribute, and what is done to their lists, which are of a kind that notices it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from arbd.worker.guard.kinds import StateKind
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace

_CHANGED_BY: Final = (
    *((logging.Filterer, name) for name in ("addFilter", "removeFilter")),
    *((logging, name) for name in ("disable", "basicConfig", "shutdown", "addLevelName")),
)
_OF_LOGGERS: Final = frozenset({"level", "handlers", "filters", "disabled", "propagate"})
_OF_HANDLERS: Final = frozenset({"level", "formatter", "filters", "stream"})
_OF_MANAGERS: Final = frozenset({"disable", "_disable", "loggerClass", "logRecordFactory"})
_AS_MADE: Final = (logging.NOTSET, (), (), False, True)
_DISABLED: Final = "logging.disable"
_HANDLERS: Final = "the handlers of loggers"
_MANAGERS: Final = "logging.root.manager"
_NAMES: Final = "the names of levels"
_ROOT: Final = logging.getLogger()
_MANAGER: Final = logging.Logger.manager
_LEVELS: Final[tuple[dict[Any, Any], ...]] = (logging._levelToName, logging._nameToLevel)


class Loggers(StateKind):
    """Those loggers that are not as they are made, by name, and their handlers; what holds for all of them."""

    name = "the loggers"

    def __init__(self) -> None:
        super().__init__(
            self.name, self._read_all, _write, changed_by=_CHANGED_BY, adopts=True, describe=_changed_names
        )

    def remember(self) -> None:
        self._baseline = None
        super().remember()

    def _read_all(self) -> dict[str, Any]:
        """Also the handlers of the baseline that no logger has any more."""
        return _read({} if self._baseline is None else self._baseline[_HANDLERS])


def install() -> None:
    """Notice that an attribute of a logger, a handler or their manager is set, once it is made; and what is done to the
    lists of those that there are. So their methods need no wrappers, but for filters, whose list others may have."""
    _notice_attributes_of(logging.Logger, _OF_LOGGERS)
    _notice_attributes_of(logging.Handler, _OF_HANDLERS)
    _notice_attributes_of(logging.Manager, _OF_MANAGERS)
    for logger in _all().values():
        for each in (logger, *logger.handlers):
            for name in ("handlers", "filters"):
                if type(found := vars(each).get(name)) is list:
                    vars(each)[name] = _NoticedList(found)


def _notice_attributes_of(owner: type, names: frozenset[str]) -> None:
    set_attribute: Any = None

    def __setattr__(self: Any, name: str, value: Any) -> None:
        is_changed = name in names and name in self.__dict__
        if type(value) is list and name in names:
            value = _NoticedList(value)
        set_attribute(self, name, value)
        if is_changed and not (name == "stream" and type(self) is not logging.StreamHandler):  # files open anew
            NOTICES.changes(Loggers.name)

    set_attribute = replace(owner, "__setattr__", __setattr__)


class _NoticedList(list[Any]):
    """The handlers or filters of a logger or handler; what changes them in place is noticed."""


def _noticed(method: Callable[..., Any]) -> Callable[..., Any]:
    def changes(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            NOTICES.changes(Loggers.name)

    return changes


for _name in (
    *("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(_NoticedList, _name, _noticed(getattr(list, _name)))


def _read(more: dict[Any, Any]) -> dict[str, Any]:
    """The state of all; of these handlers as well."""
    loggers = _all()
    states: dict[str, Any] = {name: _state(logger) for name, logger in loggers.items()}
    states = {name: state for name, state in states.items() if state != _AS_MADE}
    handlers = more | {handler: None for logger in loggers.values() for handler in logger.handlers}
    manager = (_MANAGER.loggerClass, _MANAGER.logRecordFactory)
    names = tuple(dict(each) for each in _LEVELS)
    return {**states, _DISABLED: _MANAGER.disable, _HANDLERS: _states_of(handlers), _MANAGERS: manager, _NAMES: names}


def _state(logger: logging.Logger) -> tuple[Any, ...]:
    return (logger.level, tuple(logger.handlers), tuple(logger.filters), logger.disabled, logger.propagate)


def _states_of(handlers: dict[Any, Any]) -> dict[Any, tuple[Any, ...]]:
    """The state of these handlers. Which stream one writes to is part of it, unless it opens that by itself."""
    return {handler: _handler_state(handler) for handler in handlers}


def _handler_state(handler: Any) -> tuple[Any, ...]:
    stream = handler.stream if type(handler) is logging.StreamHandler else None
    level, filters = getattr(handler, "level", None), tuple(getattr(handler, "filters", ()))
    return (level, getattr(handler, "formatter", None), filters, stream)


def _write(before: dict[str, Any]) -> None:
    for name, logger in _all().items():
        if _state(logger) != (wanted := before.get(name, _AS_MADE)):
            logger.level, handlers, filters, logger.disabled, logger.propagate = wanted
            logger.handlers[:] = handlers
            logger.filters[:] = filters
    for handler, state in before[_HANDLERS].items():
        if _handler_state(handler) != state:
            handler.level, handler.formatter, filters, stream = state
            handler.filters[:] = filters
            if stream is not None:
                handler.stream = stream
    for names, wanted_names in zip(_LEVELS, before[_NAMES], strict=True):
        if names != wanted_names:
            names.clear()
            names.update(wanted_names)
    _MANAGER.loggerClass, _MANAGER.logRecordFactory = before[_MANAGERS]
    logging.disable(before[_DISABLED])  # forgets what they remember of their levels, too


def _all() -> dict[str, logging.Logger]:
    """Without what only stands for a logger that has children."""
    named = {name: each for name, each in list(_MANAGER.loggerDict.items()) if isinstance(each, logging.Logger)}
    return {**named, _ROOT.name: _ROOT}


def _changed_names(before: dict[str, Any], after: dict[str, Any]) -> str:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(names[:20])
