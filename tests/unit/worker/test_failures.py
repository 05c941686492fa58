"""What went wrong while the author's code was loaded fits a control message, and can still be read."""

from __future__ import annotations

import errno
import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.author.refused import RefusedError
from arbd.errors import ConfigError, RegistrationError, SchemaError, TargetError
from arbd.host import channel
from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.zygote_protocol import Failed
from arbd.worker.failures import failed, head, of_examination, tail

LONG = 300_000


def raised(exc: BaseException, depth: int = 3) -> BaseException:
    """The same, with a traceback."""

    def go_down(left: int) -> None:
        if left:
            go_down(left - 1)
        else:
            raise exc

    try:
        go_down(depth)
    except BaseException as caught:
        return caught
    raise AssertionError


def told(exc: BaseException) -> Failed:
    """What the supervisor is told, after a check that it can be sent."""
    message = failed(exc)
    encoded = protocol.encode(message)
    assert len(encoded) <= channel.MAX_MESSAGE
    assert protocol.decode_from_zygote(encoded) == message
    return message


def test_an_ordinary_failure_is_told_whole() -> None:
    message = told(raised(RuntimeError("broken at import")))
    assert (message.target_error, message.problems) == (False, ["RuntimeError: broken at import"])
    assert message.traceback.startswith("Traceback (most recent call last):\n")
    assert message.traceback.endswith("RuntimeError: broken at import\n")


@pytest.mark.parametrize("letter", ["x", "ж", "文", "\N{SNAKE}", "\udcff"])
def test_a_long_text_keeps_its_head_and_the_traceback_its_frames(letter: str) -> None:
    """A database driver quotes the whole statement; in Cyrillic each letter is two bytes."""
    message = told(raised(RuntimeError("the table is gone: " + letter * LONG)))
    [problem] = message.problems
    assert problem.startswith("RuntimeError: the table is gone: ")
    assert "bytes more]" in problem
    assert "go_down" in message.traceback
    assert "RuntimeError: the table is gone: " in message.traceback


def test_a_deep_traceback_keeps_its_end() -> None:
    def recurse(depth: int) -> None:
        exec("def inner(again, depth):\n if depth: again(depth - 1)\n else: raise ValueError('the reason')", globals())
        globals()["inner"](recurse, depth)

    with pytest.raises(ValueError, match="the reason") as caught:
        recurse(150)
    chained = RuntimeError("outer")
    chained.__cause__ = caught.value
    message = told(raised(chained, depth=900))
    assert message.traceback.endswith("RuntimeError: outer\n")


def test_many_and_long_problems_are_listed_as_far_as_they_fit() -> None:
    message = told(ConfigError([f"problem {number}: " + "ж" * number for number in range(3_000)]))
    assert message.target_error
    assert message.problems[:2] == ["problem 0: ", "problem 1: ж"]
    assert message.problems[-1] == f"and {3_000 - len(message.problems) + 1} problems more"


def test_one_endless_problem_is_cut() -> None:
    [problem] = told(TargetError(["no module " + "x" * LONG])).problems
    assert problem.startswith("no module xxx")
    assert problem.endswith("bytes more]")


def test_an_action_that_can_never_work_is_told_with_its_place() -> None:
    message = told(raised(RegistrationError("action 'a': " + "ж" * LONG)))
    assert message.target_error
    assert message.problems[0].startswith("action 'a': ж")
    assert message.problems[0].partition("bytes more] (test_failures.py:")[1]
    assert "go_down" in message.traceback


def test_all_that_were_refused_are_told() -> None:
    several = RefusedError([raised(RegistrationError("one")), raised(SchemaError("two")), raised(ValueError("later"))])
    message = told(several)
    place = f"(test_failures.py:{raised.__code__.co_firstlineno + 7})"
    assert (message.target_error, message.problems) == (
        True,
        [f"one {place}", f"two {place}", f"ValueError: later {place}"],
    )
    assert "later" in message.traceback


class Unspeakable(Exception):
    """Whose own text fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("exc", "problem"),
    [(SystemExit(4), "SystemExit: 4"), (KeyboardInterrupt(), "KeyboardInterrupt"), (Unspeakable(), "Unspeakable")],
)
def test_whatever_an_import_can_raise(exc: BaseException, problem: str) -> None:
    assert told(raised(exc)).problems == [problem]


@given(st.text(st.characters()), st.integers(0, 50))
def test_a_cut_text_is_a_part_of_it(text: str, most: int) -> None:
    sendable = text.encode("utf-8", "backslashreplace").decode()
    for cut in (head(text, most), tail(text, most)):
        cut.encode()
    if len(sendable.encode()) <= most:
        assert head(text, most) == tail(text, most) == sendable
    else:
        assert sendable.startswith(head(text, most).rpartition(" [...")[0])
        assert sendable.endswith(tail(text, most).partition("\n")[2])


def test_a_module_that_holds_every_descriptor_is_told_how_many_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 128))
    said = of_examination(OSError(errno.EMFILE, "Too many open files", "/proc/self/task"))
    assert not said.target_error
    assert said.problems[0].startswith("after its import the module holds all 64 descriptors")
    assert os.strerror(errno.EMFILE) in said.problems[0]


@pytest.mark.parametrize("exc", [OSError(errno.ENOENT, "gone"), ValueError("no")])
def test_what_else_an_examination_finds_is_told_as_ever(exc: Exception) -> None:
    assert of_examination(exc) == failed(exc)
