"""Notable events are written and kept: the last of them, plain, without secrets, and not without end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arbd import logs
from arbd.control import protocol
from arbd.control.reports import NotableEvent
from arbd.logs import notable
from arbd.logs.notable import KEPT, keep, note, recent


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


@pytest.fixture(autouse=True)
def nothing_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notable, "_recent", deque(maxlen=KEPT))


@pytest.fixture
def secret() -> Iterator[str]:
    logs.configure(stream=StringIO(), secrets=["s3cr3t-token"])
    yield "s3cr3t-token"
    logs.configure()


def test_a_note_is_a_line_and_kept() -> None:
    log = Log()
    note(log, "warning", "hub_unavailable", code="UNAVAILABLE")
    assert log.lines == [("warning", "hub_unavailable", {"code": "UNAVAILABLE"})]
    [event] = recent()
    assert (event.level, event.event, event.fields) == ("warning", "hub_unavailable", {"code": "UNAVAILABLE"})


def test_what_is_kept_alone_is_no_line() -> None:
    keep("info", "worker_replaced", worker=3)
    assert [event.fields for event in recent()] == [{"worker": 3}]


def test_only_later_ones_are_asked_for() -> None:
    for number in range(3):
        keep("info", "one", number=number)
    first, *_ = recent()
    assert [event.fields["number"] for event in recent(first.number)] == [1, 2]


def test_the_last_are_kept_and_the_others_go() -> None:
    for number in range(KEPT + 5):
        keep("info", "one", number=number)
    assert [event.fields["number"] for event in recent()] == list(range(5, KEPT + 5))


def test_a_secret_is_in_no_event_wherever_it_stands(secret: str) -> None:
    keep("error", "reload_failed", reason=f"ValueError: {secret}", settings={"token": [secret, {secret: 1}]})
    [event] = recent()
    assert secret not in repr(event)


@pytest.mark.parametrize(
    "value",
    [Path("/here"), ValueError("no"), {1, 2}, {1: (2, b"x")}, "\ud800", 1 << 80, math.nan, object(), [[[Path(".")]]]],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_line_may_hold_can_be_told(value: Any) -> None:
    keep("info", "odd", value=value)
    events = [NotableEvent(each.number, 0.0, each.level, each.event, each.fields) for each in recent()]
    line = protocol.encode(protocol.EventsReply(events=events))
    assert isinstance(protocol.decode_reply(line), protocol.EventsReply)


def test_a_field_has_an_end_and_256_of_them_fit_into_a_reply() -> None:
    for _ in range(KEPT):
        keep("error", "reload_failed", reason="x" * 1_000_000, values=["y" * 1000] * 1000)
    assert len(msgspec.json.encode([event.fields for event in recent()])) < protocol.MAX_REPLY / 2


def test_the_exception_of_a_line_stays_in_the_log() -> None:
    log = Log()
    note(log, "critical", "unexpected_failure", exit_code=71, exc_info=ValueError("no"))
    assert [event.fields for event in recent()] == [{"exit_code": 71}]
    assert "exc_info" in log.lines[0][2]
