"""Structured logs of every process role: one JSON object, or one console line, for each event.

    get_logger(...).info() ─┐
    structlog.get_logger() ─┼─> fields, and role, worker, task ─> format.py ─> output.py: one write to stderr
    logging.getLogger() ────┘                                      redact, render

Not a log shipper and not a file rotator: lines go to stderr and are somebody else's from there.

Invariants:

* an event is one line, written with one ``write``: lines of several processes on one pipe do not mix (up to
  ``PIPE_BUF`` bytes the kernel promises it);
* logging never raises into the code that logs: what cannot be encoded is shown as text, what cannot be written
  is dropped, and counted;
* logging never waits for a reader, but for some milliseconds when one falls behind (``output.py``);
* a secret given to ``configure`` appears in no field, nested or not; tracebacks carry no local variables,
  because those hold payloads;
* a line written between ``enter_task`` and ``leave_task`` carries that task's ``task_id`` and ``action``, and its
  ``trace_id`` if the hub sent a trace context;
* a disabled level costs one call of an empty method: the choice is made when the level is set, not per line.

``configure`` may come later than ``get_logger``, and may come again.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TextIO

# structlog.dev imports rich if it can: 35 ms of 75, in every zygote, for tracebacks that show local variables,
# which are payloads. Hidden for the moment of this import, it is not found.
if _hide_rich := "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment] # None is how the import system spells "not there"
try:
    import structlog  # after the lines above, that is their point
finally:
    if _hide_rich:
        del sys.modules["rich"]

from structlog.contextvars import merge_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info

from arbd.host import outlet
from arbd.logs.format import LEVELS, EventDict, LineFormat
from arbd.logs.output import MAX_WAIT_S, LineOutput, LineStream, LossCounter, NoOutput, StreamOutput
from arbd.model.trace import trace_id

_MAX_WAIT_S: Final = {"worker": 0.05}  # what an action logs is in its own time
_FINISH_S: Final = 0.1  # for what is pending at the end of a process


class Logger(structlog.typing.FilteringBoundLogger if TYPE_CHECKING else object):  # type: ignore[misc] # two bases
    """A logger with the methods of structlog (``info("event", field=value)``) and ``setLevel`` of ``logging``.

    Never made directly: ``get_logger`` does.
    """

    def setLevel(self, level: str | int) -> None:
        """Give this logger a level of its own, whatever is configured before or after."""
        self.__class__ = _logger_class(_level_number(level))

    def isEnabledFor(self, level: str | int) -> bool:
        """Whether a line of that level would be written."""
        return bool(self.is_enabled_for(_level_number(level)))


class _ConfiguredLogger(Logger, structlog.make_filtering_bound_logger(LEVELS["info"])):  # type: ignore[misc] # dynamic
    """The loggers without a level of their own. ``configure`` swaps the second base, and so their methods."""


class _Sink:
    """What structlog calls with a finished line, one for each logger name and format."""

    __slots__ = ("formatter", "name")

    def __init__(self, name: str = "arbd", formatter: logging.Formatter | None = None) -> None:
        self.name = name
        self.formatter = formatter

    def write(self, line: bytes) -> None:
        _output.write(line)

    debug = info = warning = error = critical = write


def _output_to(stream: TextIO, max_wait_s: float) -> LineOutput | StreamOutput:
    """The output for a stream: by its descriptor, if it has one."""
    try:
        lines = stream.lines if isinstance(stream, LineStream) else _lines_to(stream.fileno())
    except (OSError, ValueError, AttributeError):  # a StringIO; a closed stream; a stand-in of a test runner
        return StreamOutput(_losses.add, stream)
    lines.limit_wait(max_wait_s)
    return lines


def _lines_to(fd: int) -> LineOutput:
    return LineOutput(outlet.outlet_of(fd), _notice_of_losses, _losses.add)


class _Bridge(logging.Handler):
    """Sends the records of the standard library's ``logging`` the same way."""

    _STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = f"{record.msg} (its arguments do not fit)"
        event: Any = {key: value for key, value in vars(record).items() if key not in self._STANDARD}
        event |= {"event": message, "exc_info": record.exc_info, "stack_info": False}
        sink = _Sink(record.name)
        for processor in _PROCESSORS:
            event = processor(sink, record.levelname.lower(), event)
        sink.write(event)


_constants: dict[str, Any] = {}
_format = LineFormat()
_task: tuple[str, str, str] | None = None
_bridge = _Bridge()
_losses = LossCounter()
_output: LineOutput | StreamOutput | NoOutput = StreamOutput(_losses.add)
_stderr_before: int | None = None


def configure(
    level: str = "info",
    format: str = "auto",
    silent: bool = False,
    stream: TextIO | None = None,
    *,
    role: str = "",
    worker: int | None = None,
    secrets: Sequence[str] = (),
    losses: int | None = None,
) -> None:
    """Set up logging of this process; settings ``log.level``, ``log.format`` and ``log.silent``.

    ``stream``: standard error by default. ``format``: ``auto`` is ``console`` on a terminal and ``json``
    elsewhere. ``role`` and ``worker`` are fields of every line. ``secrets`` are replaced wherever they occur.
    ``losses``: what ``losses_for_children`` gave the process that started this one.
    """
    global _output, _format
    stream = stream or sys.stderr
    if losses is not None:
        _losses.fd = losses
    _output = NoOutput() if silent else _output_to(stream, _MAX_WAIT_S.get(role, MAX_WAIT_S))
    _format = LineFormat(secrets, _console_renderer(stream) if _wants_console(format, stream) else None)
    set_role(role, worker)
    number = LEVELS["critical"] if silent else _level_number(level)
    set_level(number)
    structlog.configure(processors=_PROCESSORS, wrapper_class=_ConfiguredLogger, logger_factory=_Sink)
    root = logging.getLogger()
    if _bridge not in root.handlers:
        root.addHandler(_bridge)
    root.setLevel(number)
    logging.captureWarnings(True)


def set_level(level: str | int) -> None:
    """Set the level of the least important lines to write, for every logger without a level of its own."""
    _ConfiguredLogger.__bases__ = (Logger, structlog.make_filtering_bound_logger(_level_number(level)))


def set_role(role: str, worker: int | None = None) -> None:
    """Name this process in every line from here on: after a fork, the child says who it is."""
    _constants.clear()
    if role:
        _constants["role"] = role
    if worker is not None:
        _constants["worker"] = worker


def get_logger(name: str = "arbd", formatter: logging.Formatter | None = None) -> Logger:
    """The logger of that name. ``formatter`` renders its lines wherever the format is ``console``."""
    return _ConfiguredLogger(_Sink(name, formatter), _PROCESSORS, {})


# -- lines that were lost ------------------------------------------------------------------------------------------


def losses_for_children() -> tuple[int, ...]:
    """The descriptor on which all processes of a daemon count the log lines that they lose, to be passed on to those
    that it starts; none, unless ``own_stderr`` was called for all."""
    return () if _losses.fd is None else (_losses.fd,)


def lines_lost() -> int:
    """How many lines this process has lost, and those that count with it. For the one that was there first: whoever
    asks takes what the others have counted."""
    return _losses.total()


def _notice_of_losses(count: int) -> bytes:
    """The line that says how many before it are missing. Of no task: they may have been of any."""
    return _format.line({**_head("arbd.logs", "warning", "log_lines_lost"), "count": count})


# -- standard error as a whole -------------------------------------------------------------------------------------


def own_stderr(counts_for_all: bool = False) -> None:
    """Take over standard error at the start of a process in which no code of an author's runs: from now on nothing that
    writes to it waits for a reader, be it a traceback, ``click.echo`` or a library in C; not at its end, either.

    ``counts_for_all``: it is the first of a daemon; from now on it counts the lines that are lost in any of them."""
    global _stderr_before
    if sys.stderr is not sys.__stderr__ or sys.stderr is None:
        return  # somebody has put another stream there, as test runners do
    _stderr_before = outlet.take_over(2)
    sys.stderr = LineStream(_lines_to(2), 2, like=sys.stderr)
    if counts_for_all:
        _losses.share()
    atexit.register(finish)


def stderr_for_children() -> int | None:
    """What a child is to have as its standard error: what this process was given. ``None``: what it has now."""
    return _stderr_before


def finish() -> None:
    """Flush log and standard streams at the end of a process, in a bounded time; afterwards none of them waits."""
    for lines in _line_outputs():
        lines.flush(_FINISH_S)
    outlet.finish(sys.stdout, _FINISH_S)
    if not isinstance(sys.stderr, LineStream):
        outlet.finish(sys.stderr, _FINISH_S)


def _after_fork() -> None:
    for lines in _line_outputs():
        lines.after_fork()


def _line_outputs() -> set[LineOutput]:
    """The outputs of log and standard error: usually one; two where a log that is silent, or elsewhere, leaves standard
    error to the rest."""
    outputs = (_output, getattr(sys.stderr, "lines", None))
    return {output for output in outputs if isinstance(output, LineOutput)}


os.register_at_fork(after_in_child=_after_fork)


# -- tasks ---------------------------------------------------------------------------------------------------------


def enter_task(task_id: str, action: str, traceparent: str = "") -> None:
    """Give every line of this process the fields of that task until ``leave_task``. ``traceparent``: W3C trace context.

    A plain global: 40 ns. For actions that interleave on an event loop, bind ``task_id`` and ``action`` with
    ``structlog.contextvars`` instead; those count as well.
    """
    global _task
    _task = (task_id, action, traceparent)


def task_fields(task_id: str, action: str, traceparent: str = "") -> dict[str, str]:
    """The fields that tell which task a line is about, for lines outside of ``enter_task`` and ``leave_task``."""
    fields = {"task_id": task_id, "action": action}
    if traceparent and (trace := trace_id(traceparent)):
        fields["trace_id"] = trace
    return fields


def leave_task() -> None:
    """Give lines the fields of no task any more."""
    global _task
    _task = None


def _line(sink: _Sink, level: str, fields: EventDict) -> bytes:
    """The line of an event, its fields in their fixed order: when, what, who, which task, and then the caller's."""
    event = _head(sink.name, level, fields.pop("event", ""))
    if _task is not None:
        event.update(task_fields(*_task))
    for key, value in fields.items():
        event[f"{key}_" if key in event else key] = value  # a caller's field neither hides ours nor gets lost
    return _format.line(event, sink.formatter)


def _head(name: str, level: str, what: Any) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"
    return {"timestamp": now, "level": level, "event": what, "logger": name, **_constants}


def _wants_console(format: str, stream: TextIO) -> bool:
    return format == "console" or (format == "auto" and stream.isatty())


def _console_renderer(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    """Colours on a terminal only, and not where https://no-color.org asks for none."""
    colors = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    plain = structlog.dev.plain_traceback  # the others show local variables
    return structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, exception_formatter=plain)


def _level_number(level: str | int) -> int:
    number = LEVELS.get(level.lower()) if isinstance(level, str) else level
    if number is None or number not in LEVELS.values():
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
    return number


@cache
def _logger_class(number: int) -> type[Logger]:
    return type("Logger", (Logger, structlog.make_filtering_bound_logger(number)), {})


_PROCESSORS: Final[list[Any]] = [
    merge_contextvars,
    StackInfoRenderer(),
    format_exc_info,
    _line,
]
