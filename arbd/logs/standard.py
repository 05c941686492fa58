"""The standard library's ``logging``: records that no handler of an author's takes become log lines.

    Logger.callHandlers ─> the author's handlers, as they are configured ─> the bridge, if there are none

The bridge is no handler of the root logger: ``basicConfig`` does nothing where there is one, and ``dictConfig`` and
``basicConfig(force=True)`` remove it. Here all of them work as in any Python program, whenever they are called, and
each record is one line: theirs, or arbd's.

    which record                               who shows it
    of ``arbd.action``: what actions raised    the bridge; the author's handlers see it, but what they write to standard
                                               output or error is left out (``streams.py``)
    with a handler of the author's on its way  that one
    any other                                  the bridge
"""

from __future__ import annotations

import functools
import logging
import sys
from types import FrameType
from typing import Any, Final

from arbd.logs.streams import ACTION_LOGGER
from arbd.logs.tracebacks import is_callers

# They pass records on, and show nobody a line: OpenTelemetry's handler, Sentry's, and that of a test's caplog.
_COLLECTORS: Final = frozenset({"opentelemetry", "sentry_sdk", "_pytest"})
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_level_set: int | None = None
_bridge: logging.Handler | None = None
_hooked: Any = None
_before: Any = None


def attach(bridge: logging.Handler, level: int) -> None:
    """Send the records that nobody else shows to this handler, and give the root logger a level, unless the author has
    given it one. It may be called again."""
    global _level_set, _bridge
    root = logging.getLogger()
    if root.level == _level_set or (_level_set is None and not _has_handlers(root)):
        root.setLevel(level)
        _level_set = level
    _bridge = bridge
    if _hooked is None:  # not looked for in its place: others, as Sentry, put theirs around it
        _hook()
        logging.lastResort = logging.NullHandler()  # the bridge shows what it would
        logging.captureWarnings(True)


def change_level(level: int) -> None:
    """Give the root logger this level in place of the one that ``attach`` has given it; where the author has changed
    that, it stays."""
    global _level_set
    root = logging.getLogger()
    if _level_set is not None and root.level == _level_set:
        root.setLevel(level)
        _level_set = level


def _hook() -> None:
    global _hooked, _before
    call_handlers = logging.Logger.callHandlers

    @functools.wraps(call_handlers)
    def call_handlers_and_bridge(self: logging.Logger, record: logging.LogRecord) -> None:
        try:
            call_handlers(self, record)
        finally:  # a handler of the author's may raise
            if _bridge is not None and is_left(self, record, _bridge):
                _bridge.handle(record)

    _configure_on_demand_only()
    logging.Logger.callHandlers = call_handlers_and_bridge  # type: ignore[method-assign] # that is the point
    _hooked, _before = call_handlers_and_bridge, call_handlers


def _configure_on_demand_only() -> None:
    """``logging.info`` and its like configure the root logger where it has no handler. Nobody asked for that here."""
    configure = logging.basicConfig

    @functools.wraps(configure)
    def basic_config(**options: Any) -> None:
        if options or not _is_called_by_logging(sys._getframe(1)):
            configure(**options)

    logging.basicConfig = basic_config


def _is_called_by_logging(frame: FrameType | None) -> bool:
    while frame is not None and is_callers(frame.f_code):  # whatever of arbd's is in between
        frame = frame.f_back
    return frame is not None and frame.f_globals is vars(logging)


def detach() -> None:
    """Undo ``attach``, for tests; where somebody else has put theirs around the hook, it stays and does nothing."""
    global _level_set, _bridge, _hooked
    _level_set = _bridge = None
    if _hooked is not None and logging.Logger.callHandlers is _hooked:
        logging.Logger.callHandlers = _before  # type: ignore[method-assign] # as it was
        _hooked = None
        logging.basicConfig = getattr(logging.basicConfig, "__wrapped__", logging.basicConfig)
    logging.lastResort = logging._defaultLastResort  # type: ignore[attr-defined] # where logging keeps it
    logging.captureWarnings(False)


def is_left(logger: logging.Logger, record: logging.LogRecord, bridge: logging.Handler) -> bool:
    """Whether nobody shows this record unless the bridge does."""
    if record.name == ACTION_LOGGER:
        return True
    has_any = False
    step: logging.Logger | None = logger
    while step is not None:
        if bridge in step.handlers or _has_handlers(step):
            return False
        has_any = has_any or bool(step.handlers)
        if not step.propagate and step.parent is not None:  # it is told to nobody else, as if it had no handlers
            return not has_any and record.levelno >= logging.WARNING
        step = step.parent
    return True


def _has_handlers(logger: logging.Logger) -> bool:
    return any(map(_shows, logger.handlers))


def _shows(handler: logging.Handler) -> bool:
    return not isinstance(handler, logging.NullHandler) and type(handler).__module__.split(".")[0] not in _COLLECTORS


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """A record as an event: its message, its exception, and what the author has added to it."""
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):
        message = f"{record.msg} (its arguments do not fit)"
    event: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return event | {"event": message, "exc_info": record.exc_info, "stack_info": False}


def report(level: int, message: str, exc_info: Any, fields: dict[str, str]) -> None:
    """Send a record of what an action raised through ``logging``, so that whoever watches there sees it, whatever
    levels are set and whichever loggers are disabled there."""
    logger = logging.getLogger(ACTION_LOGGER)
    logger.disabled = False  # dictConfig disables every logger that it does not name
    logger.handle(logger.makeRecord(ACTION_LOGGER, level, "(arbd)", 0, message, (), exc_info, extra=fields))
