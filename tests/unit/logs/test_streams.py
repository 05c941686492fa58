"""Streams in the place of standard output and error: whatever is written becomes lines, nothing fails, and nothing is
closed."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest

from arbd.logs import tasks
from arbd.logs.lines import MOST_LINES, Line
from arbd.logs.streams import ACTION_LOGGER, Capture, CapturedStream
from arbd.logs.tasks import TaskTuple


class Lines:
    """The sink: what was shown, and of whom."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str, str | None]] = []
        self.records: list[logging.LogRecord | None] = []
        self.dropped: list[tuple[int, int, str | None]] = []

    def show(self, name: str, line: Line, task: TaskTuple | None, record: logging.LogRecord | None) -> None:
        self.shown.append((name, line.text, task and task[0]))
        self.records.append(record)

    def tell_dropped(self, lines: int, size: int, task: TaskTuple | None) -> None:
        self.dropped.append((lines, size, task and task[0]))

    @property
    def texts(self) -> list[str]:
        return [text for _, text, _ in self.shown]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def capture(lines: Lines) -> Capture:
    return Capture(lines, clock=lambda: 0.0)


@pytest.fixture
def out(capture: Capture) -> CapturedStream:
    return CapturedStream(capture, "stdout", 1)


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task", "_at_begin", "_at_end"):
        monkeypatch.setattr(tasks, name, getattr(tasks, name))


def test_print_and_write(out: CapturedStream, lines: Lines) -> None:
    print("a", 1, file=out)
    out.write("b\nc\n\nd")
    out.writelines(["e\n", "f\n"])
    assert lines.shown == [("stdout", text, None) for text in ("a 1", "b", "c", "de", "f")]


def test_it_is_a_text_stream_like_others(out: CapturedStream, lines: Lines) -> None:
    assert (out.fileno(), out.isatty(), out.encoding, out.writable(), out.readable()) == (
        1,
        False,
        "utf-8",
        True,
        False,
    )
    assert out.buffer.write(b"bytes \xff\n") == 8
    assert out.buffer.write(memoryview(b"view\n")) == 5  # type: ignore[arg-type] # any buffer will do
    assert out.buffer.raw.write(b"raw\n") == 4  # type: ignore[attr-defined] # a buffered one has it
    out.flush()
    out.reconfigure(line_buffering=True)
    out.write("\ud800\n")
    assert lines.texts == ["bytes \\xff", "view", "raw", "\\ud800"]


def test_nothing_closes_it(out: CapturedStream, lines: Lines) -> None:
    out.close()
    out.buffer.close()
    assert out.detach() is out.buffer
    with io.TextIOWrapper(out.buffer, encoding="utf-8") as wrapped:
        wrapped.write("wrapped\n")
    with out:
        pass
    assert not out.closed
    print("still", file=out)
    assert lines.texts == ["wrapped", "still"]


@pytest.mark.parametrize("options", [{"encoding": "ascii"}, {"errors": "strict"}, {"newline": "\r\n"}])
def test_no_task_changes_how_it_encodes(out: CapturedStream, lines: Lines, options: dict[str, str]) -> None:
    out.reconfigure(**options)  # type: ignore[arg-type] # each of them is one of these
    print("é\ud800", file=out)
    assert lines.texts == ["é\\ud800"]


@pytest.mark.parametrize(
    ("options", "error"),
    [({"encoding": "none"}, LookupError), ({"errors": "none"}, LookupError), ({"newline": "x"}, ValueError)],
)
def test_what_no_stream_takes_is_refused(out: CapturedStream, options: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        out.reconfigure(**options)  # type: ignore[arg-type] # each of them is one of these


def test_an_attribute_that_a_task_sets_goes_with_it(out: Any, lines: Lines) -> None:
    taken: list[str] = []
    out.of_the_module = 1
    tasks.enter_task("1", "a")
    out.write = out.buffer.write = taken.append
    out.of_the_module = 2
    del out.of_the_module
    print("to the task's", file=out)
    tasks.leave_task()
    assert taken == ["to the task's", "\n"]
    print("as ever", file=out)
    out.buffer.write(b"bytes\n")
    assert lines.texts == ["as ever", "bytes"]
    assert out.of_the_module == 1


def test_the_end_of_a_task_ends_its_lines(out: CapturedStream, capture: Capture, lines: Lines) -> None:
    tasks.enter_task("1", "a")
    out.write("no end")
    CapturedStream(capture, "stderr", 2).write("nor here")
    tasks.leave_task()
    tasks.enter_task("2", "a")
    out.write("of the next\n")
    tasks.leave_task()
    assert lines.shown == [("stdout", "no end", "1"), ("stderr", "nor here", "1"), ("stdout", "of the next", "2")]


def test_threads_do_not_share_a_line(out: CapturedStream, lines: Lines) -> None:
    out.write("main ")
    thread = threading.Thread(target=lambda: out.write("other\n"))
    thread.start()
    thread.join()
    out.write("thread\n")
    assert lines.texts == ["other", "main thread"]


def test_a_flood_is_cut_and_counted(out: CapturedStream, lines: Lines) -> None:
    for task in ("1", "2"):
        tasks.enter_task(task, "a")
        out.write("x\n" * (MOST_LINES + 7))
        tasks.leave_task()
    assert len(lines.shown) == 2 * MOST_LINES
    assert lines.dropped == [(7, 7, "1"), (7, 7, "2")]


def test_a_record_of_logging_is_one_line(out: CapturedStream, lines: Lines) -> None:
    logger = logging.Logger("app")
    logger.addHandler(logging.StreamHandler(out))
    out.write("begun ")
    logger.warning("two\nlines")
    out.write("ended\n")
    assert lines.texts == ["two\nlines", "begun ended"]
    first, second = lines.records
    assert (first and first.levelname, second) == ("WARNING", None)


def test_a_handler_that_writes_from_afar(out: CapturedStream, lines: Lines) -> None:
    class Far(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            def write(depth: int) -> None:
                print(record.getMessage(), file=out) if depth == 0 else write(depth - 1)

            write(12)

    logger = logging.Logger("app")
    logger.addHandler(Far())
    logger.error("far")
    assert lines.texts == ["far"]
    assert lines.records[0] is not None


def test_what_an_action_raised_is_not_shown_by_handlers(out: CapturedStream, lines: Lines) -> None:
    logger = logging.Logger(ACTION_LOGGER)
    logger.addHandler(logging.StreamHandler(out))
    logger.error("action failed")
    assert lines.shown == []


def test_a_forked_child_begins_anew(out: CapturedStream, capture: Capture, lines: Lines) -> None:
    out.write("of the parent")
    capture.start_anew()
    out.write("of the child\n")
    assert lines.texts == ["of the child"]


def test_a_sink_that_fails_fails_the_writer_once_and_no_line_later(capture: Capture) -> None:
    class Failing(Lines):
        def show(self, *args: Any) -> None:
            super().show(*args)
            raise TimeoutError

    failing = Failing()
    out = CapturedStream(Capture(failing), "stdout", 1)
    for number in range(2):
        with pytest.raises(TimeoutError):  # as a soft deadline may strike anywhere
            print(number, file=out)
    assert failing.texts == ["0", "1"]
