"""A message is one bounded line; whatever comes instead is answered by a failure that says what was wrong."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.control import protocol
from arbd.control.protocol import (
    ControlProtocolError,
    ControlReply,
    ControlRequest,
    Failure,
    GetLimits,
    GetStatus,
    LimitsReply,
    StatusReply,
    decode_reply,
    decode_request,
    encode,
)
from arbd.control.reports import (
    Holding,
    LimitReport,
    NotableEvent,
    Operation,
    ProcessStacks,
    Rejection,
    RunningTask,
    StatusReport,
    WorkerReport,
)
from arbd.model.flight import Flight
from arbd.model.link_stats import LinkStats

STATUS = StatusReport(
    provider="prices",
    version="0.1.0",
    pid=7,
    state="serving",
    uptime_s=1.5,
    hub="hub:1",
    link=LinkStats("up", polls=3, failures={"GetTask UNAVAILABLE": 2}),
    workers=[
        WorkerReport(0, 8, (), "serving", 1.0, 5, 0.5, 0.25, 1, RunningTask("t1", "echo", 0.1, 2.0)),
        WorkerReport(1, 9, (3, 7), "starting", 0.0, 0, 0.0, 0.0, 0),
    ],
    in_flight=2,
    backlog=0,
    outbox=1,
    outbox_limit=10,
    verdicts={"success": 4, "error": 1, "limit": 0},
)
LIMIT = LimitReport(
    name="provider",
    scope="provider",
    rule="2 calls in any second",
    rate=2.0,
    usage=0.5,
    holdings=[Holding(0, 3, 2, 1)],
    rejections=1,
    last_rejections=[Rejection(0.5, 0.25, 0)],
)
REQUESTS: list[ControlRequest] = [
    GetStatus(),
    GetLimits(),
    protocol.GetEvents(after=3),
    protocol.GetStacks(worker=1, native=True),
    protocol.GetTrace(answered_after_ns=5, acked_after_ns=6),
    protocol.GetProfile(seconds=2.5, action="echo", idle=True),
    protocol.GetOperation(id=7),
    protocol.DrainDaemon(),
    protocol.Resume(action="echo"),
    protocol.PauseAction(action="echo"),
    protocol.Reload(),
    protocol.Scale(workers=4),
    protocol.Replace(worker=2),
    protocol.Kill(task_id="t1"),
    protocol.SetLogLevel(level="debug"),
]
REPLIES: list[ControlReply] = [
    StatusReply(report=STATUS),
    LimitsReply(provider="p", limits=[LIMIT]),
    protocol.EventsReply(events=[NotableEvent(1, 0.5, "info", "reloaded", {"actions": 3})]),
    protocol.StacksReply(stacks=[ProcessStacks("worker", 8, 0, "File ...", RunningTask("t1", "echo", 0.1, 2.0))]),
    protocol.TraceReply(
        provider="p",
        now_ns=9,
        now_unix_ns=10,
        total=1,
        flights=[Flight("t1", "echo", 0, 8, "success", 1, 2, 3, 1, 4, 8)],
        acks=[("t1", 9)],
        running=[],
        has_more=False,
    ),
    protocol.OperationReply(operation=Operation(7, "drain", "running", "2 tasks left", 3, 5)),
    protocol.Done(text="the level is debug"),
    Failure(code="busy", message="no"),
]


def failure_of(line: bytes, decode: object = decode_request) -> Failure:
    with pytest.raises(ControlProtocolError) as caught:
        decode(line)  # type: ignore[operator] # either of the two decoders
    return caught.value.failure


class TestMessages:
    def test_every_message_is_among_the_examples(self) -> None:
        assert {type(message) for message in REQUESTS} == set(get_args(ControlRequest))
        assert {type(message) for message in REPLIES} == set(get_args(ControlReply))

    @pytest.mark.parametrize("request_", REQUESTS, ids=repr)
    def test_requests_come_back(self, request_: ControlRequest) -> None:
        assert decode_request(encode(request_)) == request_

    @pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
    def test_replies_come_back(self, reply: ControlReply) -> None:
        assert decode_reply(encode(reply)) == reply

    def test_what_goes_over_the_wire_is_this(self) -> None:
        assert encode(GetStatus()) == b'{"type":"get_status","version":1}\n'
        assert encode(Failure(code="busy", message="later")) == (
            b'{"type":"failure","version":1,"code":"busy","message":"later"}\n'
        )

    @given(st.text(st.characters(codec="utf-8")))
    def test_no_text_breaks_the_line(self, text: str) -> None:
        line = encode(Failure(code="failed", message=text))
        assert line.count(b"\n") == 1
        assert decode_reply(line) == Failure(code="failed", message=text)

    def test_a_request_with_a_field_nobody_knows_is_refused(self) -> None:
        failure = failure_of(b'{"type":"get_status","version":1,"reset":true}')
        assert failure.code == "malformed"
        assert "reset" in failure.message

    def test_a_reply_may_have_fields_of_a_later_version(self) -> None:
        line = b'{"type":"limits","version":1,"provider":"p","limits":[],"since":"yesterday"}'
        assert decode_reply(line) == LimitsReply(provider="p", limits=[])

    def test_a_type_of_message_is_found_again_by_its_name(self) -> None:
        assert {"get_limits", "get_status", "drain"} < protocol.REQUESTS
        assert {"failure", "limits", "status"} < protocol.REPLIES


class TestVersions:
    def test_a_request_in_another_version_is_told_which_one_is_spoken(self) -> None:
        failure = failure_of(b'{"type":"get_status","version":2}')
        assert failure.code == "version"
        assert "speaks version 1" in failure.message
        assert "asked in version 2" in failure.message

    def test_so_is_one_that_is_new_in_another_version(self) -> None:
        assert failure_of(b'{"type":"fly","version":2}').code == "version"

    def test_an_unknown_request_is_told_what_is_known(self) -> None:
        failure = failure_of(b'{"type":"fly","version":1}')
        assert failure.code == "unknown_message"
        assert "'fly'" in failure.message
        assert "get_events, get_limits, " in failure.message

    def test_a_reply_in_another_version_is_not_guessed_at(self) -> None:
        failure = failure_of(b'{"type":"status","version":2,"state":"fine"}', decode_reply)
        assert failure.code == "version"

    def test_a_failure_is_understood_in_every_version(self) -> None:
        line = b'{"type":"failure","version":9,"code":"tired","message":"ask version 9"}'
        assert decode_reply(line) == Failure(version=9, code="tired", message="ask version 9")

    def test_an_unknown_reply_is_an_error(self) -> None:
        assert failure_of(b'{"type":"song","version":1}', decode_reply).code == "unknown_message"

    def test_a_long_name_is_not_echoed(self) -> None:
        line = msgspec.json.encode({"type": "x" * 10_000, "version": 1})
        assert len(failure_of(line).message) < 400


class TestBadInput:
    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"GET / HTTP/1.1",
            b"null",
            b"[]",
            b"{}",
            b'{"type":"get_status"}',
            b'{"type":"get_status","version":"1"}',
            b'{"type":"get_status","version":true}',
            b'{"type":7,"version":1}',
            b'{"type":"fly","type":"get_status","version":1}',
            b'{"type":"get_status","version":1',
            b'{"type":"\xff","version":1}',
            b'{"type":"\\ud800","version":1}',
            b"[" * 60_000,
            b'{"type":"get_status","version":1,"x":' + b"[" * 60_000,
        ],
        ids=lambda line: repr(line[:40]),
    )
    def test_it_is_told_so(self, line: bytes) -> None:
        assert failure_of(line).code == "malformed"

    @given(st.binary(max_size=200))
    def test_nothing_else_is_ever_raised(self, line: bytes) -> None:
        for decode in (decode_request, decode_reply):
            with pytest.raises(ControlProtocolError):
                decode(line)
