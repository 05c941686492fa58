"""Every logger of a process writes the same way: a line per event, its task on it, no secret in it, never raising."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import select
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from arbd import logs
from arbd.logger import Logger
from arbd.logs.format import LineFormat
from arbd.logs.output import StreamOutput

SECRET = 'tok"en\\1'


def configured(**options: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(stream=stream, **options)
    return stream


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


class TestJson:
    def test_a_line_is_an_object_with_time_level_event_logger_and_process(self) -> None:
        stream = configured(role="worker", worker=3)
        logs.get_logger("prices").info("priced %s", "gold", count=2, nested={"a": [1]})
        (event,) = events(stream)
        at = datetime.fromisoformat(event.pop("timestamp"))
        assert at.tzinfo == UTC
        assert event == {
            "level": "info",
            "event": "priced gold",
            "logger": "prices",
            "role": "worker",
            "worker": 3,
            "count": 2,
            "nested": {"a": [1]},
        }

    def test_one_event_is_one_write(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
            logs.configure(stream=stream)
            logs.get_logger().info("first\nsecond", text="x" * 2000)
            logs.get_logger().info("third")
            received = [theirs.recv(65536), theirs.recv(65536)]
        assert [json.loads(line)["event"] for line in received] == ["first\nsecond", "third"]
        assert [line.count(b"\n") for line in received] == [1, 1]

    def test_an_exception_is_a_field_without_local_variables(self) -> None:
        stream = configured()

        def fail(payload: str) -> None:
            raise ValueError("no")

        try:
            fail("x".join("abc"))
        except ValueError:
            logs.get_logger().exception("failed")
        (event,) = events(stream)
        assert all(part in event["exception"] for part in (__file__, "fail", "ValueError: no"))
        assert "axbxc" not in event["exception"]
        assert "exc_info" not in event

    def test_a_field_named_like_one_of_ours_hides_nothing_and_is_kept(self) -> None:
        stream = configured(role="supervisor")
        logs.get_logger("x").info("event", level="high", role="admin")
        (event,) = events(stream)
        assert (event["level"], event["level_"], event["role"], event["role_"]) == (
            "info",
            "high",
            "supervisor",
            "admin",
        )

    @given(st.recursive(st.none() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
    def test_whatever_is_logged_is_a_line_of_json(self, value: Any) -> None:
        stream = configured(secrets=["never"])
        logs.get_logger().info(str(value), value=value)
        assert len(events(stream)) == 1

    def test_what_cannot_be_encoded_is_shown_as_text_and_never_raises(self) -> None:
        class Hostile:
            def __repr__(self) -> str:
                raise RuntimeError

        endless: list[Any] = []
        endless.append(endless)
        stream = configured()
        logs.get_logger().info("\ud800", hostile=Hostile(), number=1)
        logs.get_logger().info("endless", value=endless, huge=1 << 70)
        first, second = events(stream)
        assert (first["event"], first["hostile"], first["number"]) == ("\ud800", "<Hostile: its repr failed>", 1)
        assert (second["value"], second["huge"]) == ("[[...]]", 1 << 70)

    def test_a_stream_that_went_away_costs_the_line_only(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            logs.configure(stream=stream)
            logs.get_logger().info("nobody reads this")
        logs.get_logger().info("and the stream is closed")


class Full:
    """A pipe that is full, as the log of a process."""

    def __init__(self) -> None:
        self.read, self._written = os.pipe()
        os.set_blocking(self._written, False)
        try:
            while True:
                os.write(self._written, b"." * select.PIPE_BUF)
        except BlockingIOError:
            os.set_blocking(self._written, True)
        self.stream = os.fdopen(self._written, "w")

    def empty(self) -> None:
        """Read what fills it."""
        assert set(os.read(self.read, 1 << 20)) == {ord(".")}

    def events(self) -> list[dict[str, Any]]:
        """The lines in it."""
        return [json.loads(line) for line in os.read(self.read, 1 << 20).splitlines()]

    def close(self) -> None:
        """Let go of it."""
        os.close(self.read)
        self.stream.close()


@pytest.fixture
def full() -> Iterator[Full]:
    full = Full()
    yield full
    full.close()


class TestLosses:
    def test_nobody_waits_for_a_log_that_nobody_reads(self, full: Full) -> None:
        logs.configure(stream=full.stream)
        before = logs.lines_lost()
        for number in range(1000):
            logs.get_logger().info("unread", number=number)
        assert logs.lines_lost() - before == 1000

    def test_when_somebody_reads_again_one_line_tells_how_many_were_lost(self, full: Full) -> None:
        logs.configure(stream=full.stream, role="worker", worker=3)
        logs.enter_task("t-1", "price")
        for _ in range(5):
            logs.get_logger().info("unread")
        full.empty()
        logs.get_logger().info("read")
        told, read = full.events()
        del told["timestamp"]
        assert told == {  # of no task: they may have been of any
            "level": "warning",
            "event": "log_lines_lost",
            "logger": "arbd.logs",
            "role": "worker",
            "worker": 3,
            "count": 5,
        }
        assert (read["event"], read["task_id"]) == ("read", "t-1")

    def test_processes_count_together_on_one_descriptor(self, full: Full) -> None:
        counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        before = logs.lines_lost()
        logs.configure(stream=full.stream, losses=counter)
        assert logs.losses_for_children() == (counter,)
        logs.get_logger().info("of this process")
        os.eventfd_write(counter, 41)  # of others
        assert [logs.lines_lost() - before for _ in range(2)] == [42, 42]
        os.eventfd_write(counter, (1 << 64) - 2)  # of one that an author's code has gone mad in
        assert logs.lines_lost() < 1 << 54
        logs.get_logger().info("and on")
        os.close(counter)

    def test_a_counter_that_takes_no_more_does_not_hide_a_loss(self, full: Full) -> None:
        counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        before = logs.lines_lost()
        logs.configure(stream=full.stream, losses=counter)
        os.eventfd_write(counter, (1 << 64) - 2)
        logs.get_logger().info("unread")
        os.eventfd_read(counter)
        assert logs.lines_lost() - before == 1
        os.close(counter)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this machine has no /dev/full")
    def test_a_full_disk_is_counted(self) -> None:
        before = logs.lines_lost()
        with open("/dev/full", "wb", buffering=0) as stream:
            logs.configure(stream=stream)  # type: ignore[arg-type] # only its descriptor is used
            logs.get_logger().info("no room")
        assert logs.lines_lost() - before == 1

    def test_silence_loses_nothing(self, full: Full) -> None:
        before = logs.lines_lost()
        logs.configure(stream=full.stream, silent=True)
        logs.get_logger().critical("not a line")
        assert logs.lines_lost() == before

    def test_a_process_without_standard_error_can_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = logs.lines_lost()
        monkeypatch.setattr(logs, "_output", StreamOutput(logs._losses.add))
        monkeypatch.setattr("sys.stderr", None)
        logs.get_logger().info("to whom?")
        assert logs.lines_lost() - before == 1


def at_a_full_log(code: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program whose standard error is a full pipe, which is read only when it has ended."""
    full = Full()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full.stream, timeout=60)
    assert fcntl.fcntl(full.stream.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK == 0  # others share it
    full.empty()
    full.close()
    return done


class TestStandardError:
    def test_an_exception_ends_the_process_with_its_exit_code(self) -> None:
        done = at_a_full_log("from arbd import logs; logs.own_stderr(); 1 / 0")
        assert done.returncode == 1

    def test_whatever_writes_there_does_not_wait(self) -> None:
        code = """
import ctypes, os, sys, traceback, warnings
from arbd import logs
logs.own_stderr(counts_for_all=True)
logs.configure(role="supervisor")
print("x" * 40_000, file=sys.stderr)
traceback.print_stack()
warnings.warn("old")
ctypes.CDLL(None).write(2, b"from C", 6)
for number in range(100):
    logs.get_logger().info("unread")
assert logs.lines_lost() > 102
sys.exit(7)
"""
        assert at_a_full_log(code).returncode == 7

    def test_without_a_descriptor_to_count_on_a_process_counts_its_own(self) -> None:
        code = """
import os, sys
def no(*_):
    raise OSError(24, "too many open files")
os.eventfd = no
from arbd import logs
logs.own_stderr(counts_for_all=True)
logs.configure(role="supervisor")
logs.get_logger().info("unread")
sys.exit(logs.lines_lost() * 10 + len(logs.losses_for_children()))
"""
        assert at_a_full_log(code).returncode == 10

    def test_a_child_gets_what_the_process_was_given(self) -> None:
        code = """
import fcntl, os, subprocess, sys
from arbd import logs
logs.own_stderr()
look = "import fcntl, os, sys; sys.exit(fcntl.fcntl(2, fcntl.F_GETFL) & os.O_NONBLOCK != 0)"
assert fcntl.fcntl(2, fcntl.F_GETFL) & os.O_NONBLOCK
sys.exit(subprocess.call([sys.executable, "-c", look], stderr=logs.stderr_for_children()))
"""
        assert at_a_full_log(code).returncode == 0

    def test_the_last_lines_of_a_process_are_read_by_a_reader_that_is_slow(self) -> None:
        code = """
import os, sys
from arbd import logs
logs.own_stderr()
logs.configure(role="supervisor")
for number in range(300):
    logs.get_logger().info("x" * 300)
print("logged", flush=True)
os.read(0, 1)
"""
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen([sys.executable, "-c", code], **streams) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"logged\n"
            process.stdin.close()
            lines = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert lines[-1]["event"] == "log_lines_lost"
        assert lines[-1]["count"] + len(lines) - 1 == 300

    def test_a_forked_process_starts_anew(self) -> None:
        """What its parent owes is its parent's to tell."""
        code = """
import os, sys
from arbd import logs
logs.configure(role="zygote")
logs.get_logger().info("unread")
os.read(int(sys.argv[1]), 1 << 20)
if os.fork() == 0:
    logs.set_role("worker", 1)
    logs.get_logger().info("of the child")
    os._exit(0)
os.wait()
logs.get_logger().info("of the parent")
"""
        full = Full()
        subprocess.run(
            [sys.executable, "-c", code, str(full.read)],
            stderr=full.stream,
            pass_fds=[full.read],
            timeout=60,
            check=True,
        )
        told = [(event["role"], event["event"]) for event in full.events()]
        full.close()
        assert told == [("worker", "of the child"), ("zygote", "log_lines_lost"), ("zygote", "of the parent")]

    def test_another_stream_in_its_place_stays_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As test runners put there."""
        stand_in = io.StringIO()
        monkeypatch.setattr("sys.stderr", stand_in)
        logs.own_stderr(counts_for_all=True)
        assert sys.stderr is stand_in
        assert (logs.losses_for_children(), logs.stderr_for_children()) == ((), None)


class TestTask:
    def test_lines_between_enter_and_leave_carry_the_task(self) -> None:
        stream = configured()
        logger = logs.get_logger()
        logs.enter_task("t-1", "price")
        logger.info("inside")
        logging.getLogger("library").warning("inside too")
        logs.leave_task()
        logger.info("outside")
        assert [(e.get("task_id"), e.get("action")) for e in events(stream)] == [("t-1", "price")] * 2 + [(None, None)]

    def test_the_trace_of_a_task_is_named(self) -> None:
        stream = configured()
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        for traceparent in (f"00-{trace}-00f067aa0ba902b7-01", "", "none"):
            logs.enter_task("t-1", "price", traceparent)
            logs.get_logger().info("inside")
            logs.leave_task()
        assert [event.get("trace_id") for event in events(stream)] == [trace, None, None]

    def test_tasks_that_interleave_use_context_variables(self) -> None:
        stream = configured()
        with structlog.contextvars.bound_contextvars(task_id="t-2", action="fetch"):
            logs.get_logger().info("inside")
        (event,) = events(stream)
        assert (event["task_id"], event["action"]) == ("t-2", "fetch")


class TestSecrets:
    def test_a_secret_is_replaced_wherever_it_is(self) -> None:
        stream = configured(secrets=[SECRET, "", "other"])
        logger = logs.get_logger()
        logger.info(f"it is {SECRET}", key={SECRET: [f"<{SECRET}>", ("other",)]}, data=SECRET.encode())
        logger.bind(token=SECRET).warning("bound")
        logging.getLogger("library").error("std %s", SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            logger.exception("failed")
        first, second, third, fourth = events(stream)
        assert first["event"] == "it is [redacted]"
        assert first["key"] == {"[redacted]": ["<[redacted]>", ["[redacted]"]]}
        assert (second["token"], third["event"]) == ("[redacted]", "std [redacted]")
        assert fourth["exception"].endswith("ValueError: [redacted]")
        assert not any(secret in stream.getvalue() for secret in (SECRET, json.dumps(SECRET)[1:-1], "other"))

    def test_a_secret_inside_an_object_is_replaced(self) -> None:
        class Holder:
            def __repr__(self) -> str:
                return f"Holder({SECRET})"

        stream = configured(secrets=[SECRET])
        logs.get_logger().info("x", holder=Holder())
        assert events(stream)[0]["holder"] == "Holder([redacted])"

    def test_a_number_that_is_the_secret_is_replaced(self) -> None:
        stream = configured(secrets=["12345"])
        logs.get_logger().info("x", number=12345, other=1)
        event = events(stream)[0]
        assert (event["number"], event["other"]) == ("[redacted]", 1)

    def test_the_console_hides_it_too(self) -> None:
        stream = configured(secrets=[SECRET], format="console")
        logs.get_logger().info("x", value=f"a {SECRET} b")
        assert "a [redacted] b" in stream.getvalue()


class TestLevels:
    def test_lines_below_the_level_are_not_written(self) -> None:
        stream = configured(level="warning")
        logger = logs.get_logger()
        logger.info("no")
        logger.warning("yes")
        logging.getLogger("library").info("no")
        logging.getLogger("library").error("yes")
        assert [event["event"] for event in events(stream)] == ["yes", "yes"]

    def test_a_disabled_level_is_an_empty_method(self) -> None:
        configured(level="error")
        logger = logs.get_logger()
        assert type(logger).debug is type(logger).warning
        assert type(logger).debug is not type(logger).error

    def test_loggers_made_before_follow_a_later_configuration(self) -> None:
        logger = logs.get_logger()
        stream = configured(level="debug")
        logger.debug("one")
        configured(level="error")
        logger.debug("two")
        assert [event["event"] for event in events(stream)] == ["one"]

    @pytest.mark.parametrize("level", ["DEBUG", "debug", logging.DEBUG])
    def test_set_level_is_for_one_logger_and_for_good(self, level: str | int) -> None:
        chosen, other = logs.get_logger("chosen"), logs.get_logger("other")
        chosen.setLevel(level)
        stream = configured(level="error")
        chosen.bind(x=1).debug("yes")
        other.debug("no")
        assert [event["event"] for event in events(stream)] == ["yes"]
        assert (chosen.isEnabledFor("debug"), other.isEnabledFor("debug")) == (True, False)
        assert isinstance(chosen, logs.Logger)

    def test_an_unknown_level_is_refused(self) -> None:
        with pytest.raises(ValueError, match="log level 'LOUD' is not one of debug, info, warning, error, critical"):
            logs.get_logger().setLevel("LOUD")

    def test_silence_is_complete(self) -> None:
        stream = configured(silent=True)
        logger = logs.get_logger()
        logger.setLevel("debug")
        logger.critical("no")
        logging.getLogger("library").critical("no")
        structlog.get_logger().critical("no")
        assert stream.getvalue() == ""


class TestOtherLoggers:
    def test_the_standard_library_goes_the_same_way(self) -> None:
        stream = configured(role="worker")
        logging.getLogger("library").warning("%d left", 3, extra={"queue": "a"})
        (event,) = events(stream)
        assert {key: value for key, value in event.items() if key != "timestamp"} == {
            "level": "warning",
            "event": "3 left",
            "logger": "library",
            "role": "worker",
            "queue": "a",
        }

    def test_arguments_that_do_not_fit_do_not_raise(self) -> None:
        stream = configured()
        library = logging.Logger("library")  # apart from the root logger, where pytest has handlers that do raise
        library.addHandler(logs._bridge)
        library.warning("%d left", "three")
        assert events(stream)[0]["event"] == "%d left (its arguments do not fit)"

    def test_a_record_with_an_exception(self) -> None:
        stream = configured()
        try:
            raise KeyError("k")
        except KeyError:
            logging.getLogger("library").exception("failed")
        assert events(stream)[0]["exception"].endswith("KeyError: 'k'")

    def test_structlog_goes_the_same_way(self) -> None:
        stream = configured()
        structlog.get_logger("theirs").info("hello", x=1)
        (event,) = events(stream)
        assert (event["logger"], event["event"], event["x"]) == ("theirs", "hello", 1)

    def test_warnings_are_lines_too(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            stream = configured()
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            logging.captureWarnings(False)
        (event,) = events(stream)
        assert (event["logger"], "DeprecationWarning: old" in event["event"]) == ("py.warnings", True)

    def test_configuring_twice_writes_each_line_once(self) -> None:
        configured()
        stream = configured()
        logging.getLogger("library").warning("once")
        assert len(events(stream)) == 1


class TestConsole:
    def test_auto_is_json_where_there_is_no_terminal(self) -> None:
        stream = configured(format="auto")
        logs.get_logger().info("x")
        assert events(stream)[0]["event"] == "x"

    def test_a_line_is_readable_and_without_colours(self) -> None:
        stream = configured(format="console", role="worker", worker=1)
        logs.enter_task("t-1", "price")
        logs.get_logger("prices").info("priced", count=2)
        timestamp, rest = stream.getvalue().split(" ", 1)
        assert datetime.fromisoformat(timestamp).tzinfo == UTC
        assert " ".join(rest.split()) == (
            "[info ] priced [prices] role=worker worker=1 task_id=t-1 action=price attempt=1 count=2"
        )

    def test_control_characters_do_not_reach_the_terminal(self) -> None:
        stream = configured(format="console")
        logs.get_logger().info("red \x1b[31m", value="\x07\x9b", text="a\tb")
        assert "red \\x1b[31m" in stream.getvalue()
        assert not {"\x1b", "\x07", "\x9b"} & set(stream.getvalue())

    def test_no_text_forges_a_line(self) -> None:
        stream = configured(format="console")
        forged = "text\n2026-01-01T00:00:00Z [info ] forged"
        logs.get_logger().info(forged)
        Logger(name="p", format="%(message)s").info(forged, value=forged)
        try:
            raise ValueError(forged)
        except ValueError:
            logs.get_logger().exception("failed")
        assert [line for line in stream.getvalue().splitlines() if line.startswith("2026-01-01")] == []
        assert stream.getvalue().count("    2026-01-01") >= 3

    def test_a_reason_of_several_lines_stands_below_as_it_is_and_begins_no_line(self) -> None:
        stream = configured(format="console")
        reason = "failed: it's \n  File 'x'\n2026-01-01T00:00:00Z [info] forged"
        logs.get_logger().error("reload_failed", reason=reason, hint="go on")
        first, *below = stream.getvalue().rstrip("\n").split("\n")
        assert ("reload_failed" in first, "hint=" in first, "\\n" in first) == (True, True, False)
        assert below == ["      File 'x'", "    2026-01-01T00:00:00Z [info] forged"]
        logs.get_logger().error("x", reason="a\nb", stack="where")
        assert stream.getvalue().endswith("where\n")

    @pytest.mark.parametrize(("no_color", "colours"), [("", True), ("1", False)])
    def test_auto_is_console_on_a_terminal_with_colours_unless_told_otherwise(
        self, monkeypatch: pytest.MonkeyPatch, no_color: str, colours: bool
    ) -> None:
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setenv("TERM", "xterm")
        primary, secondary = os.openpty()
        try:
            with os.fdopen(secondary, "w") as stream:
                logs.configure(stream=stream)
                logs.get_logger().info("hello")
                line = os.read(primary, 4096)
        finally:
            os.close(primary)
        assert b"hello" in line
        assert (b"\x1b[" in line) is colours


class TestAuthorsLogger:
    def test_the_spec_example_writes_in_its_own_format_on_a_console(self) -> None:
        stream = configured(format="console", role="worker")
        logger = Logger(name="my-provider", level="INFO", format="%(name)s - %(levelname)s - %(message)s")
        logger.debug("no")
        logger.info("hello %s", "there", count=1)
        assert stream.getvalue() == "my-provider - INFO - hello there role=worker count=1\n"

    def test_its_exceptions_are_shown(self) -> None:
        stream = configured(format="console")
        logger = Logger(name="p", format="%(message)s")
        try:
            raise ValueError("no")
        except ValueError:
            logger.exception("failed")
        first, *_, last = stream.getvalue().splitlines()
        assert (first, last) == ("failed", "ValueError: no")

    def test_json_lines_keep_their_fields(self) -> None:
        stream = configured()
        Logger(name="p", level="INFO", format="%(message)s").info("x")
        assert (events(stream)[0]["logger"], events(stream)[0]["event"]) == ("p", "x")

    def test_a_format_without_a_field_is_refused(self) -> None:
        with pytest.raises(ValueError, match="format"):
            Logger(name="p", format="nothing")


def test_a_json_line_is_printable_where_it_cannot_be_encoded_at_once_too() -> None:
    evil = "a\x7f\x9b31m\u202eb\x1b\n"
    for event in ({"event": evil}, {"event": evil, "lone": "\ud800"}):
        line = LineFormat().line(event).decode()
        assert (line[:-1].isprintable(), line[-1]) == (True, "\n")
        assert json.loads(line)["event"] == evil
