"""Structured logs of every process role: one JSON object, or one console line, for each event.

    get_logger(...).info() ───────────┐
    structlog.get_logger() ───────────┤
    logging.getLogger(), standard.py ─┼─> role, worker, tasks.py ─> format.py ─> output.py: one write to stderr
    print, stderr, streams.py ────────┤                             redact, render
    threads' exceptions, unhandled.py ┘

Not a log shipper and not a file rotator: lines go to stderr and are somebody else's from there.

Invariants:

* an event is one line, written with one ``write``: lines of several processes on one pipe do not mix (up to
  ``PIPE_BUF`` bytes the kernel promises it);
* logging never raises into the code that logs: what cannot be encoded is shown as text, what cannot be written
  is dropped, and counted;
* logging never waits for a reader, but for some milliseconds when one falls behind (``output.py``);
* a secret given to ``configure`` appears in no field, nested or not; tracebacks carry no local variables,
  because those hold payloads;
* a line carries ``task_id``, ``action`` and ``attempt`` of the task it belongs to (``tasks.py``), and its ``trace_id``
  if the hub sent a trace context; never those of another;
* an error that repeats is counted (``repeats.py``): the first is whole, then one line a minute; all are written where
  the level is ``debug``;
* where standard error leads to the journal of systemd, an event is an entry of it, with fields (``journal.py``);
* a disabled level costs one call of an empty method: the choice is made when the level is set, not per line.

``configure`` may come later than ``get_logger``, and may come again.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
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
from structlog.processors import StackInfoRenderer

from arbd.host import outlet
from arbd.logs import standard, unhandled
from arbd.logs.captured import RawLines, as_event, descriptor_of_log
from arbd.logs.format import LEVELS, EventDict, EventLine, LineFormat
from arbd.logs.journal import JournalOutput, leads_to_journal, with_priority
from arbd.logs.lines import Line
from arbd.logs.output import MAX_WAIT_S, LineOutput, LineStream, LossCounter, NoOutput, StreamOutput
from arbd.logs.repeats import ErrorKind, Repeats
from arbd.logs.streams import ACTION_LOGGER, Capture, CapturedStream
from arbd.logs.tasks import TaskTuple, current_task, keep_streams, remember_starts, span_fields
from arbd.logs.tasks import enter_task as enter_task
from arbd.logs.tasks import leave_task as leave_task
from arbd.logs.tasks import left_task_fields as left_task_fields
from arbd.logs.tasks import task_fields as task_fields
from arbd.logs.tracebacks import class_name, exc_info_of, place_of, text_of

_MAX_WAIT_S: Final = {"worker": 0.05}  # what an action logs is in its own time
_OWN_ATTRIBUTES: Final = frozenset(("_logger", "_processors", "_context", "__class__"))  # structlog's, and the level
_FINISH_S: Final = 0.1  # for what is pending at the end of a process
_FAILED: Final = "action failed"


class Logger(structlog.typing.FilteringBoundLogger if TYPE_CHECKING else object):  # type: ignore[misc] # two bases
    """A logger with the methods of structlog (``info("event", field=value)``) and ``setLevel`` of ``logging``.

    Never made directly: ``get_logger`` does. One serves all actions, so its attributes, its methods among them, cannot
    be set.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OWN_ATTRIBUTES:
            raise AttributeError(f"{name!r} of arbd's logger cannot be set: all actions use it; wrap it instead")
        super().__setattr__(name, value)

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


class _DefaultSink(_Sink):
    """That of a logger that arbd has made for a provider without one."""

    __slots__ = ()


def _output_to(stream: TextIO, max_wait_s: float) -> LineOutput | JournalOutput | StreamOutput:
    """The output for a stream: by its descriptor, if it has one."""
    try:
        fd = stream.fileno()
        lines = stream.lines if isinstance(stream, LineStream) else _lines_to(fd)
    except (OSError, ValueError, AttributeError):  # a StringIO; a closed stream; a stand-in of a test runner
        return StreamOutput(_losses.add, stream)
    lines.limit_wait(max_wait_s)
    return JournalOutput(lines) if leads_to_journal(fd, os.environ.get("JOURNAL_STREAM")) else lines


def _lines_to(fd: int) -> LineOutput:
    return LineOutput(outlet.outlet_of(fd), _notice_of_losses, _losses.add)


class _Bridge(logging.Handler):
    """Sends the records of the standard library's ``logging`` the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == ACTION_LOGGER:
            if not get_logger().isEnabledFor(record.levelname):
                return  # it came past all levels
            if record.exc_info and is_repeated(record.exc_info[1], record.getMessage(), getattr(record, "action", "")):
                return
        sink = _Sink(record.name)
        event: Any = standard.event_of(record)
        for processor in _PROCESSORS:
            event = processor(sink, record.levelname.lower(), event)
        sink.write(event)


class _CapturedLines:
    """Sends what is printed the same way: the sink of captured streams."""

    def show(self, name: str, line: Line, task: TaskTuple | None, record: logging.LogRecord | None = None) -> None:
        write_captured(name, line, task, record)

    def tell_dropped(self, lines: int, size: int, task: TaskTuple | None) -> None:
        write_dropped(lines, size, task)


_NO_SPAN: Final[dict[str, str]] = {}
_constants: dict[str, Any] = {}
_format = LineFormat()
_bridge = _Bridge()
_losses = LossCounter()
_output: LineOutput | JournalOutput | StreamOutput | NoOutput = StreamOutput(_losses.add)
_repeats = Repeats()
_stderr_before: int | None = None
_log: TextIO | None = None  # where standard error is captured: what it was
_capture: Capture | None = None
_raw: RawLines | None = None  # where the log is silent: what is printed goes where it would without arbd


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
    global _output, _format, _raw
    stream = stream or _log or sys.stderr
    if losses is not None:
        _losses.fd = losses
    if isinstance(_output, JournalOutput):
        _output.close()
    _output = NoOutput() if silent else _output_to(stream, _MAX_WAIT_S.get(role, MAX_WAIT_S))
    console = _console_renderer(stream) if _wants_console(format, stream) else None
    _format = LineFormat(secrets, console, keeps_events=isinstance(_output, JournalOutput))
    set_role(role, worker)
    number = LEVELS["critical"] if silent else _level_number(level)
    set_level(number)
    if not structlog.is_configured() or structlog.get_config()["logger_factory"] is _Sink:  # else it is the author's
        structlog.configure(processors=_PROCESSORS, wrapper_class=_ConfiguredLogger, logger_factory=_Sink)
    standard.attach(_bridge, number)
    _raw = RawLines(_lines_to) if silent and _capture is not None else None


def set_level(level: str | int) -> None:
    """Set the level of the least important lines to write, for every logger without a level of its own."""
    _ConfiguredLogger.__bases__ = (Logger, structlog.make_filtering_bound_logger(_level_number(level)))


def change_level(level: str | int) -> None:
    """Write lines of this level and above from now on, whatever was configured, also of the standard library's
    loggers."""
    set_level(level)
    standard.change_level(_level_number(level))


def redacted(value: Any) -> Any:
    """A value as plain data that is fit for JSON, without the secrets of this process."""
    return _format.plain(value)


def level_number(level: str) -> int:
    """The number of a level, as ``logging`` counts them."""
    return LEVELS[level]


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


def default_logger(name: str) -> Logger:
    """The logger of a provider that has none of its own."""
    return _ConfiguredLogger(_DefaultSink(name), _PROCESSORS, {})


def report_failure(logger: Any, exc: BaseException, task_id: str, action: str) -> None:
    """Log what an action raised, unless it repeats: with the author's own logger, or as a record of ``logging``, where
    Sentry and OpenTelemetry look for such; they see those that repeat, too."""
    exc_info = exc_info_of(exc)
    if isinstance(getattr(logger, "_logger", None), _DefaultSink):
        standard.report(logging.ERROR, _FAILED, exc_info, {"task_id": task_id, "action": action})
    elif not is_repeated(exc, _FAILED, action):
        logger.error(_FAILED, exc_info=exc_info)


# -- errors that repeat --------------------------------------------------------------------------------------------


def is_repeated(exc: BaseException | None, what: str, action: str) -> bool:
    """Whether such an error of this action was logged already, within the last minute; then it has been counted. Where
    the level is ``debug`` none is."""
    if get_logger().isEnabledFor("debug"):
        return False
    kind = ErrorKind(what, action, "" if exc is None else class_name(exc), "" if exc is None else place_of(exc))
    now = time.monotonic()
    if now >= _repeats.next_at:
        tell_repeated()
    return _repeats.is_repeated(kind, now)


def tell_repeated(all_of_them: bool = False) -> None:
    """Write a line for each kind of error that was counted for a minute; ``all_of_them``: or for less."""
    for told in _repeats.take_due(time.monotonic(), all_of_them=all_of_them):
        kind = {name: value for name, value in told.kind._asdict().items() if value}
        get_logger("arbd.logs").error("error_repeated", **kind, count=told.times, in_s=round(told.in_s))


def repeated_errors() -> Repeats:
    """What is counted in this process: who sleeps for long sleeps no longer than ``next_at``."""
    return _repeats


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
    line = _format.line({**_head("arbd.logs", "warning", "log_lines_lost"), "count": count})
    return with_priority(line) if isinstance(line, EventLine) else line


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
    if _capture is not None:
        _capture.end_task()
    tell_repeated(all_of_them=True)
    for lines in _line_outputs():
        lines.flush(_FINISH_S)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, LineStream | CapturedStream):
            outlet.finish(stream, _FINISH_S)


def _after_fork() -> None:
    _repeats.clear()
    if _capture is not None:
        _capture.start_anew()
    for lines in _line_outputs():
        lines.after_fork()


def _line_outputs() -> set[LineOutput]:
    """The outputs of log and standard error: usually one; two where a log that is silent, or elsewhere, leaves standard
    error to the rest."""
    outputs = (getattr(_output, "lines", _output), getattr(sys.stderr, "lines", None))
    return {output for output in outputs if isinstance(output, LineOutput)}


os.register_at_fork(after_in_child=_after_fork)


# -- what is printed -----------------------------------------------------------------------------------------------


def capture_streams(log: int | None = None) -> None:
    """Make log lines of all that an author's code prints in this process and in those that are forked from it. ``log``:
    the descriptor the log goes to; standard error, unless another process has captured that already."""
    global _log, _capture
    if _capture is not None:
        return
    _log = open(descriptor_of_log(log), "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    _capture = Capture(_CapturedLines())
    # The ones that they replace are kept by the interpreter, and some code puts those of the interpreter back.
    sys.stdout = sys.__stdout__ = CapturedStream(_capture, "stdout", 1)  # type: ignore[misc] # final for a good reason
    sys.stderr = sys.__stderr__ = CapturedStream(_capture, "stderr", 2)  # type: ignore[misc] # the same
    keep_streams()
    remember_starts()
    unhandled.install(_report)


def is_captured() -> bool:
    """Whether what is printed in this process becomes log lines: not where the log is silent."""
    return _capture is not None and _raw is None


def journal_descriptors() -> tuple[int, ...]:
    """The descriptors besides ``log_descriptor`` that the log needs in this process."""
    return _output.descriptors if isinstance(_output, JournalOutput) else ()


def log_descriptor() -> int | None:
    """The descriptor that the log goes to in a process whose streams are captured, for those that it starts by exec."""
    return None if _log is None else _log.fileno()


def write_captured(
    name: str, line: Line, task: TaskTuple | None, record: logging.LogRecord | None = None, worker: int | None = None
) -> None:
    """Write a line that was printed to stream ``name``. ``worker``: by a worker, which is another process."""
    if _raw is not None:
        _raw.write(name, line)
        return
    event = as_event(name, line, record, _format.redacted)
    head = _head(name, event.pop("level"), event.pop("event"), worker)
    _output.write(_format.line(_together(head, task, event, span_fields() if worker is None and task else {})))


def write_dropped(lines: int, size: int, task: TaskTuple | None, worker: int | None = None) -> None:
    """Write the line that says how much of what a task printed is not shown."""
    head = _head("arbd.logs", "warning", "output_dropped", worker)
    _output.write(_format.line(_together(head, task, {"lines": lines, "bytes": size})))


def loop_exception_handler() -> Any:
    """The handler of what nobody handles on a worker's event loop."""
    return unhandled.loop_handler(_report)


def _report(what: str, exc: BaseException | None, task: TaskTuple | None, **fields: str) -> None:
    if is_repeated(exc, what, "" if task is None else task[1]):
        return
    logger = logging.getLogger("arbd.unhandled")
    exc_info = None if exc is None else exc_info_of(exc)
    event: Any = {"event": what, "exc_info": exc_info, **{key: value for key, value in fields.items() if value}}
    for processor in _PROCESSORS[:-1]:
        event = processor(logger, "error", event)
    _output.write(_format.line(_together(_head("arbd.unhandled", "error", event.pop("event")), task, event)))


# -- lines ---------------------------------------------------------------------------------------------------------


def _line(sink: _Sink, level: str, fields: EventDict) -> bytes:
    """The line of an event, its fields in their fixed order: when, what, who, which task, and then the caller's."""
    event = _together(_head(sink.name, level, fields.pop("event", "")), current_task(), fields, span_fields())
    return _format.line(event, sink.formatter)


def _together(
    event: EventDict, task: TaskTuple | None, fields: EventDict, span: dict[str, str] = _NO_SPAN
) -> EventDict:
    if task is not None:
        event.update(task_fields(*task))
    if span:
        event.update(span)
    for key, value in fields.items():
        if key not in event:
            event[key] = value
        elif event[key] != value:
            event[f"{key}_"] = value  # a caller's field neither hides ours nor gets lost
    return event


def _head(name: str, level: str, what: Any, worker: int | None = None) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"
    who = _constants if worker is None else {"role": "worker", "worker": worker}
    return {"timestamp": now, "level": level, "event": what, "logger": name, **who}


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


def _exception_as_text(sink: Any, level: str, event: EventDict) -> EventDict:
    """What structlog's ``format_exc_info`` does, with tracebacks as ``tracebacks.py`` has them."""
    given = event.pop("exc_info", None)
    if isinstance(given, BaseException):
        given = (type(given), given, given.__traceback__)
    elif given and not isinstance(given, tuple):
        given = sys.exc_info()
    if given and given[0] is not None:
        event["exception"] = text_of(given)
    return event


_PROCESSORS: Final[list[Any]] = [
    merge_contextvars,
    StackInfoRenderer(),
    _exception_as_text,
    _line,
]
