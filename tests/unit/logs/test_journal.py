"""Claim: where standard error is the stream to the journal, an event is an entry with fields and a priority, whatever
is in it; what the journal's socket does not take goes to the stream, with a priority, and none is lost so."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd import logs
from arbd.host import outlet
from arbd.logs import journal
from arbd.logs.format import EventLine
from arbd.logs.output import LineOutput


def line(text: bytes = b'{"event":"x"}\n', **event: Any) -> EventLine:
    made = EventLine(text)
    made.event = event
    return made


def parsed(entry: bytes) -> list[tuple[str, bytes]]:
    """The fields of an entry, as the journal reads them."""
    fields = []
    while entry:
        head, _, rest = entry.partition(b"\n")
        if b"=" in head:
            name, _, value = head.partition(b"=")
            fields.append((name.decode(), value))
            entry = rest
            continue
        size = int.from_bytes(rest[:8], "little")
        fields.append((head.decode(), rest[8 : 8 + size]))
        assert rest[8 + size : 9 + size] == b"\n"
        entry = rest[9 + size :]
    return fields


class Journal:
    """A journal's socket, and the stream that leads to it."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "socket")
        self.listen()
        self.theirs, self.ours = socket.socketpair()
        self.theirs.settimeout(5)
        fd = self.ours.fileno()
        lost: list[int] = []
        self.lost = lost
        self.lines = LineOutput(outlet.outlet_of(fd), lambda count: b"lost\n", lambda: lost.append(1))

    def listen(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)

    def entries(self, count: int) -> list[dict[str, bytes]]:
        return [dict(parsed(self.socket.recv(1 << 20))) for _ in range(count)]

    def streamed(self) -> bytes:
        return self.theirs.recv(1 << 20)

    def close(self) -> None:
        for each in (self.socket, self.theirs, self.ours):
            each.close()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def output(there: Journal) -> Iterator[journal.JournalOutput]:
    made = journal.JournalOutput(there.lines, there.path)
    yield made
    made.close()


def test_an_event_is_an_entry_with_fields(there: Journal, output: journal.JournalOutput) -> None:
    output.write(line(level="error", event="x", role="worker", worker=3, task_id="t-1", action="price", attempt=2))
    [entry] = there.entries(1)
    assert entry == {
        "MESSAGE": b'{"event":"x"}',
        "PRIORITY": b"3",
        "SYSLOG_IDENTIFIER": b"arbd",
        "ARBD_EVENT": b"x",
        "ARBD_ROLE": b"worker",
        "ARBD_WORKER": b"3",
        "ARBD_TASK_ID": b"t-1",
        "ARBD_ACTION": b"price",
        "ARBD_ATTEMPT": b"2",
    }


def test_nothing_in_a_value_makes_a_field() -> None:
    forged = "x\nPRIORITY=0\nMESSAGE=gone\n\0\ud800"
    fields = parsed(journal.entry({"level": "info", "task_id": forged}, b"a\nPRIORITY=0\n"))
    assert [name for name, _ in fields] == ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "ARBD_TASK_ID"]
    assert dict(fields)["PRIORITY"] == b"6"


def test_a_field_is_bounded_and_the_message_is_not() -> None:
    fields = dict(parsed(journal.entry({"action": "a" * 100_000}, b"m" * 100_000)))
    assert (len(fields["ARBD_ACTION"]), len(fields["MESSAGE"])) == (4096, 100_000)


@pytest.mark.parametrize(
    ("level", "priority"), [("critical", 2), ("error", 3), ("warning", 4), ("info", 6), ("debug", 7), (None, 6)]
)
def test_priorities_are_those_of_syslog(level: str | None, priority: int) -> None:
    assert journal.with_priority(line(b"a\nb\n", level=level)) == b"<%d>a\n<%d>b\n" % (priority, priority)


def test_without_the_socket_lines_go_to_the_stream(there: Journal) -> None:
    output = journal.JournalOutput(there.lines, f"{there.path}.none")
    output.write(line(level="warning"))
    assert there.streamed() == b'<4>{"event":"x"}\n'
    output.close()
    output.write(line(level="info"))
    assert (there.streamed(), output.descriptors) == (b'<6>{"event":"x"}\n', ())


def test_an_entry_that_is_too_long_goes_to_the_stream(there: Journal, output: journal.JournalOutput) -> None:
    limit = there.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    output.write(line(b"m" * 1_000 + b"\n", level="info"))
    assert len(there.entries(1)) == 1
    for fd in output.descriptors:
        with socket.socket(fileno=os.dup(fd)) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    output.write(line(b"m" * min(limit, 60_000) + b"\n", level="info"))
    assert there.streamed().startswith(b"<6>mmm")


def test_a_journal_that_is_full_costs_no_wait_and_no_line(there: Journal, output: journal.JournalOutput) -> None:
    for n in range(2_000):
        output.write(line(b"%d\n" % n, level="info"))
    there.socket.settimeout(0)
    received = 0
    try:
        while there.socket.recv(1 << 16):
            received += 1
    except BlockingIOError:
        pass
    assert 0 < received < 2_000
    assert there.theirs.recv(8).startswith(b"<6>%d" % received)


def test_a_journal_that_was_started_again_is_found(there: Journal, output: journal.JournalOutput) -> None:
    there.socket.close()
    output.write(line(level="info"))
    assert there.streamed().startswith(b"<6>")
    os.unlink(there.path)
    there.listen()
    output.write(line(level="info"))
    assert len(there.entries(1)) == 1


def test_only_the_stream_that_is_named_leads_there(there: Journal) -> None:
    found = os.fstat(there.ours.fileno())
    named = f"{found.st_dev}:{found.st_ino}"
    assert journal.leads_to_journal(there.ours.fileno(), named)
    assert not journal.leads_to_journal(there.theirs.fileno(), named)
    assert not any(journal.leads_to_journal(there.ours.fileno(), other) for other in (None, "", "nonsense", "8:"))
    assert not journal.leads_to_journal(1 << 20, named)


def test_the_log_of_a_process_goes_there(there: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.fstat(there.ours.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    monkeypatch.setattr(journal, "SOCKET", there.path)
    with os.fdopen(os.dup(there.ours.fileno()), "w") as stream:
        logs.configure(stream=stream, role="worker", worker=1, secrets=["a-secret-of-some-length"])
        logs.enter_task("t-1", "price", attempt=3)
        logs.get_logger("prices").error("the secret is a-secret-of-some-length", value="a-secret-of-some-length")
        logs.leave_task()
        assert len(logs.journal_descriptors()) == 1
        logs.configure(stream=io.StringIO())
        assert logs.journal_descriptors() == ()
    [entry] = there.entries(1)
    named = {name: value for name, value in entry.items() if name.startswith("ARBD_T") or name == "PRIORITY"}
    assert named == {"PRIORITY": b"3", "ARBD_TASK_ID": b"t-1"}
    assert b"a-secret-of-some-length" not in b"".join(entry.values())
    assert entry["ARBD_EVENT"] == b"the secret is [redacted]"
