"""Who asks a process for its stacks never harms it, nor waits for what cannot come, and trusts nothing in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from arbd.host import process_facts, stack_dump
from arbd.host.process_facts import ProcessFacts
from arbd.host.stack_dump import StackDump
from arbd.host.stack_signal import COROUTINES_SIGNAL, STACKS_SIGNAL

BIT = 1 << (STACKS_SIGNAL - 1)
RUNS = ProcessFacts("S", 0, 0, BIT)
PENDING = RUNS._replace(pending=BIT)
HANDLING = RUNS._replace(blocked=BIT)


class Asked:
    """A process as the kernel sees it, that writes what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts: ProcessFacts | None = RUNS
        self.sent: list[int] = []
        self.error: OSError | None = None
        self.dump = StackDump()
        monkeypatch.setattr(process_facts, "look", lambda pid: self.facts)

    def send(self, signum: int) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(signum)

    def ask(self) -> str | None:
        return self.dump.ask(7, self.send)

    def writes(self, text: str) -> None:
        os.write(self.dump.fd, text.encode())

    @property
    def is_done(self) -> bool:
        return self.dump.is_done(7)

    @property
    def why_not(self) -> str | None:
        return self.dump.why_not(7)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    asked = Asked(monkeypatch)
    yield asked
    asked.dump.close()
    asked.dump.close()


def test_it_is_asked_and_read_when_the_handler_has_returned(asked: Asked) -> None:
    assert asked.ask() is None
    assert asked.sent == [STACKS_SIGNAL]
    asked.facts = PENDING
    assert not asked.is_done
    asked.facts = HANDLING
    asked.writes("one\n")
    assert not asked.is_done
    asked.facts = RUNS
    assert asked.is_done
    assert asked.why_not is None
    assert asked.dump.text() == "one"


def test_what_it_said_before_is_not_read_again(asked: Asked) -> None:
    asked.ask()
    asked.writes("a long answer\n")
    assert asked.is_done
    asked.ask()
    assert asked.dump.text() == ""
    asked.writes("short\n")
    assert asked.is_done
    assert asked.dump.text() == "short"


def test_of_several_threads_any_may_write_so_it_must_be_still(asked: Asked) -> None:
    asked.facts = RUNS._replace(threads=3)
    asked.ask()
    asked.writes("one")
    assert not asked.is_done
    asked.writes("two")
    assert not asked.is_done
    assert asked.is_done


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (None, "ended"),
        (RUNS._replace(state="Z"), "ended"),
        (RUNS._replace(caught=0), "does not handle"),
    ],
)
def test_one_that_would_be_harmed_or_is_gone_is_sent_nothing(asked: Asked, facts: ProcessFacts, why: str) -> None:
    asked.facts = facts
    assert why in (asked.ask() or "")
    assert asked.sent == []


@pytest.mark.parametrize(("error", "why"), [(ProcessLookupError(), "ended"), (PermissionError(1, "no"), "no")])
def test_one_that_cannot_be_sent_a_signal_is_told(asked: Asked, error: OSError, why: str) -> None:
    asked.error = error
    assert why in (asked.ask() or "")
    asked.error = None
    assert asked.ask() is None, "and is asked the next time"


def test_two_that_ask_at_once_send_one_signal(asked: Asked) -> None:
    assert asked.ask() is None
    assert asked.ask() is None
    assert len(asked.sent) == 1


def test_one_that_has_the_signal_waiting_is_not_sent_another(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.ask()
    asked.facts = PENDING
    monkeypatch.setattr(stack_dump, "_FRESH_S", 0.0)
    assert asked.ask() is None
    assert len(asked.sent) == 1


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (None, "ended"),
        (RUNS._replace(state="T"), "SIGCONT"),
        (PENDING._replace(blocked=BIT), "blocks"),
        (PENDING._replace(state="D"), "uninterruptible"),
        (RUNS, "closed the descriptor"),
    ],
)
def test_why_it_says_nothing_is_told(asked: Asked, facts: ProcessFacts | None, why: str) -> None:
    asked.ask()
    asked.facts = facts
    assert why in (asked.why_not or "")


def test_one_that_is_slow_is_told_with_what_it_has_said(asked: Asked) -> None:
    asked.ask()
    asked.writes("some of it")
    asked.facts = HANDLING
    assert not asked.is_done
    assert "in time" in (asked.why_not or "")
    assert asked.dump.text() == "some of it"


def test_what_it_writes_is_bounded_and_controls_nothing(asked: Asked) -> None:
    asked.ask()
    asked.writes("\x1b[2J\u202e\x00")
    assert "\x1b" not in asked.dump.text()
    assert "\x00" not in asked.dump.text()
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(asked.dump.fd, b"x", stack_dump.BYTES)
    os.lseek(asked.dump.fd, 1 << 40, os.SEEK_SET)  # so can the other end
    assert len(asked.dump.text()) <= stack_dump.BYTES
    assert asked.dump.text(100).startswith("(")
    assert len(asked.dump.text(100)) < 200


# -- coroutines ------------------------------------------------------------------------------------------------------

IN_LOOP = '  File "/x/arbd/worker/aio.py", line 1 in _run\n'
BOTH = RUNS._replace(caught=BIT | 1 << (COROUTINES_SIGNAL - 1))


def test_one_in_its_event_loop_is_asked_for_coroutines_once(asked: Asked) -> None:
    asked.facts = BOTH
    asked.ask()
    asked.writes(IN_LOOP)
    assert asked.is_done
    for _ in range(2):
        assert asked.dump.ask_for_coroutines(7, asked.send)
    assert asked.ask() is None, "who asks meanwhile gets the same answer"
    assert asked.sent == [STACKS_SIGNAL, COROUTINES_SIGNAL]
    assert not asked.dump.has_more()
    asked.writes("Task one\n")
    assert asked.dump.has_more()
    assert asked.dump.text().endswith("Task one")
    asked.dump.wait_no_more()
    asked.ask()
    assert asked.dump.text() == ""


@pytest.mark.parametrize("facts", [None, RUNS, BOTH._replace(pending=1 << (COROUTINES_SIGNAL - 1))])
def test_one_that_would_be_harmed_or_has_it_waiting_is_not(asked: Asked, facts: ProcessFacts | None) -> None:
    asked.ask()
    asked.writes(IN_LOOP)
    asked.facts = facts
    assert not asked.dump.ask_for_coroutines(7, asked.send)
    assert COROUTINES_SIGNAL not in asked.sent


def test_nor_is_one_without_a_loop_or_that_has_ended(asked: Asked) -> None:
    asked.facts = BOTH
    asked.ask()
    asked.writes("  File elsewhere\n")
    assert not asked.dump.ask_for_coroutines(7, asked.send)
    asked.writes(IN_LOOP)
    asked.error = ProcessLookupError()
    assert not asked.dump.ask_for_coroutines(7, asked.send)


def test_closed_meanwhile_it_says_nothing(asked: Asked) -> None:
    asked.ask()
    asked.dump.close()
    assert asked.dump.text() == ""
    assert not asked.is_done
