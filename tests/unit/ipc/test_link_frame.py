"""Tasks, results, acknowledgements and counts come out of a record as they went in, by the ring or by reference; and
whatever else is in a record raises ``LinkRecordError``, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc import link_frame
from arbd.ipc.link_frame import Encoded, LinkRecordError, NumberedOutcome
from arbd.model.task import STATUSES, Outcome, Task

LONGEST = 200

texts = st.text(max_size=30)
bodies = st.binary(max_size=300)
tasks = st.builds(Task, texts.filter(bool), texts, bodies, bodies)
outcomes = st.builds(Outcome, tasks, st.sampled_from(STATUSES), bodies)


def no_parcel() -> bytes:
    raise AssertionError("nothing came by reference")


def parcel_of(encoded: Encoded) -> bytes:
    assert len(encoded.record) <= LONGEST
    return b"" if encoded.parcel is None else b"".join(encoded.parcel)


@given(tasks)
def test_a_task_comes_out_as_it_went_in(task: Task) -> None:
    encoded = link_frame.encode_task(task, LONGEST)
    assert link_frame.kind_of(encoded.record) == link_frame.TASK
    take = no_parcel if encoded.parcel is None else lambda: parcel_of(encoded)
    assert link_frame.decode_task(encoded.record, take) == task
    size = len(b"".join((task.id.encode(), task.action.encode(), task.payload, task.account)))
    assert (encoded.parcel is not None) == (24 + size > LONGEST)


@given(outcomes, st.integers(0, 2**64 - 1))
def test_a_result_comes_out_as_it_went_in(outcome: Outcome, number: int) -> None:
    encoded = link_frame.encode_result(outcome, number, LONGEST)
    take = no_parcel if encoded.parcel is None else lambda: parcel_of(encoded)
    found = link_frame.decode_result(encoded.record, take)
    assert found == NumberedOutcome(outcome.task, outcome.status, outcome.result, number)
    assert len(encoded.record) <= LONGEST


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=24))
def test_acknowledgements_come_out_as_they_went_in(numbers: list[int]) -> None:
    record = link_frame.encode_acks(numbers)
    assert link_frame.kind_of(record) == link_frame.ACKS
    assert list(link_frame.decode_acks(record)) == numbers
    assert link_frame.most_acks(LONGEST) == 24
    assert len(link_frame.encode_acks([0] * 24)) == LONGEST


def test_a_lease() -> None:
    record = link_frame.encode_lease(1.25)
    assert link_frame.kind_of(record) == link_frame.LEASE
    assert link_frame.decode_lease(record) == 1.25


def test_failures_and_stopped() -> None:
    record = link_frame.encode_failures({"GetTask UNAVAILABLE": 3})
    assert link_frame.kind_of(record) == link_frame.FAILURES
    assert link_frame.decode_failures(record) == {"GetTask UNAVAILABLE": 3}
    stopped = link_frame.encode_stopped(3)
    assert link_frame.kind_of(stopped) == link_frame.STOPPED
    assert link_frame.decode_stopped(stopped) == 3
    with pytest.raises(link_frame.LinkRecordError):
        link_frame.decode_stopped(stopped + b"!")


DECODERS = [
    lambda record: link_frame.decode_task(record, lambda: b"parcel"),
    lambda record: link_frame.decode_result(record, lambda: b"parcel"),
    link_frame.decode_acks,
    link_frame.decode_failures,
    link_frame.decode_lease,
]


@given(st.binary(min_size=8, max_size=100), st.sampled_from(DECODERS))
def test_any_bytes_are_read_or_refused(record: bytes, decode: object) -> None:
    assert callable(decode)
    try:
        decode(record)
    except LinkRecordError:
        pass  # the one exception a reader has to expect


@given(outcomes, st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_a_result_with_one_wrong_number_is_read_or_refused(outcome: Outcome, word: int, value: int) -> None:
    record = bytearray(link_frame.encode_result(outcome, 1, 10_000).record)
    record[4 * word : 4 * word + 4] = struct.pack("<I", value)
    try:
        link_frame.decode_result(bytes(record), lambda: b"")
    except LinkRecordError:
        pass


@pytest.mark.parametrize(
    "record",
    [
        struct.pack("<IIIIII", link_frame.TASK, 0, 5, 0, 0, 0) + b"four",
        struct.pack("<IIIIII", link_frame.TASK, 0, 0, 4, 0, 0) + b"none",
        struct.pack("<IIIIII", link_frame.TASK, 0, 1, 1, 2**32 - 1, 0) + b"ab",
        struct.pack("<IIIIII", link_frame.TASK, 0, 1, 0, 0, 0) + b"\xff",
        struct.pack("<II", link_frame.TASK, 0),
    ],
)
def test_a_task_that_is_none_is_refused(record: bytes) -> None:
    with pytest.raises(LinkRecordError):
        link_frame.decode_task(record, no_parcel)


@pytest.mark.parametrize("record", [b"", b"abc", b"1234567"])
def test_a_record_that_is_too_short_has_no_kind(record: bytes) -> None:
    with pytest.raises(LinkRecordError, match="too short"):
        link_frame.kind_of(record)


@pytest.mark.parametrize("longest", [1 << 16, 0])
def test_a_trace_context_comes_out_as_it_went_in_and_what_is_none_does_not(longest: int) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for given_trace, expected in (((traceparent, "a=1"), (traceparent, "a=1")), (("none", "a=1"), ("", ""))):
        task = Task("t", "act", b"{}", b"[]", traceparent=given_trace[0], tracestate=given_trace[1])
        record, parcel = link_frame.encode_task(task, longest)
        got = link_frame.decode_task(record, lambda parcel=parcel: b"".join(parcel or ()))  # type: ignore[misc] # bound now
        assert (got.traceparent, got.tracestate) == expected
        assert (got.payload, got.account) == (b"{}", b"[]")
