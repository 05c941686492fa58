"""A task or result comes out of its record as it went in, and a record that is cut or made up is an error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc import frame
from arbd.model.reasons import REASONS
from arbd.model.task import STATUSES, Status

#: What stands behind an id, if anything does: no NUL in it.
traces = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)
u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
u16 = st.integers(0, 2**16 - 1)
seconds = st.floats(allow_nan=False)
#: What a hub may use as an id: anything that is text, and what gRPC lets through although UTF-8 has no such thing.
ids = st.text(st.characters(exclude_categories=())) | st.sampled_from(["", "\0", "é" * 300, "\ud800", "🦆/../'\n"])


def as_bytes(task_id: str) -> bytes:
    return task_id.encode("utf-8", "surrogatepass")


@given(seq=u64, timeout=seconds, action=u32, task_id=ids, payload=st.binary(), account=st.binary(), trace=traces)
def test_a_task_round_trips(
    seq: int, timeout: float, action: int, task_id: str, payload: bytes, account: bytes, trace: str
) -> None:
    record = frame.encode_task(seq, timeout, action, as_bytes(task_id), payload, account, trace.encode())
    got = frame.decode_task(record)
    assert got == frame.TaskFrame(seq, timeout, action, False, task_id, len(payload), payload + account, trace)
    assert (got.body[: got.payload_length], got.body[got.payload_length :]) == (payload, account)
    behind = len(trace) + 1 if trace else 0  # without one it costs no byte
    assert len(record) == frame.TASK_HEADER + len(as_bytes(task_id)) + behind + len(payload) + len(account)


@given(seq=u64, timeout=seconds, action=u32, task_id=ids, payload_length=u32, trace=traces)
def test_a_task_by_reference_round_trips(
    seq: int, timeout: float, action: int, task_id: str, payload_length: int, trace: str
) -> None:
    record = frame.encode_task_reference(seq, timeout, action, as_bytes(task_id), payload_length, trace.encode())
    expected = frame.TaskFrame(seq, timeout, action, True, task_id, payload_length, b"", trace)
    assert frame.decode_task(record) == expected


@given(seq=u64, run_ns=u64, status=st.sampled_from(STATUSES), body=st.binary(), since=u64, woke=u32, reason=u16)
def test_a_result_round_trips(
    seq: int, run_ns: int, status: Status, body: bytes, since: int, woke: int, reason: int
) -> None:
    record = frame.encode_result(seq, run_ns, status, body, since, woke, reason)
    assert frame.decode_result(record) == frame.ResultFrame(seq, run_ns, status, body, since, woke, reason)
    assert len(record) == frame.RESULT_HEADER + len(body)


@given(seq=u64, run_ns=u64, status=st.sampled_from(STATUSES), since=u64, woke=u32)
def test_a_result_by_reference_round_trips(seq: int, run_ns: int, status: Status, since: int, woke: int) -> None:
    record = frame.encode_result_reference(seq, run_ns, status, since, woke)
    assert frame.decode_result(record) == frame.ResultFrame(
        seq, run_ns, status, b"", since, woke, flags=frame.BY_REFERENCE
    )


@given(seq=u64)
def test_a_skipped_task_is_told_by_its_number(seq: int) -> None:
    got = frame.decode_result(frame.encode_skipped(seq))
    assert (got.seq, got.skipped, got.by_reference) == (seq, True, False)


def test_ready_is_a_result_of_no_task() -> None:
    assert frame.decode_result(frame.READY).seq == frame.READY_SEQ == 0


@given(st.binary(max_size=frame.TASK_HEADER - 1))
def test_a_record_too_short_for_a_task_is_an_error(record: bytes) -> None:
    with pytest.raises(struct.error):
        frame.decode_task(record)


@given(st.binary(max_size=frame.RESULT_HEADER - 1))
def test_a_record_too_short_for_a_result_is_an_error(record: bytes) -> None:
    with pytest.raises(struct.error):
        frame.decode_result(record)


@given(status=st.integers(len(STATUSES), 2**8 - 1))
def test_a_status_that_does_not_exist_is_an_error(status: int) -> None:
    record = struct.pack("<QQQIBBH", 1, 0, 0, 0, status, 0, 0)
    with pytest.raises(IndexError):
        frame.decode_result(record)


def test_an_id_that_is_no_text_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        frame.decode_task(frame.encode_task(1, 1.0, 0, b"\xff\xfe", b"", b""))


@pytest.mark.parametrize("reason", range(len(REASONS)))
def test_the_reason_of_an_error_comes_with_it(reason: int) -> None:
    """Whether its body is in the record or beside it; each reason there is has room in the flags."""
    inline = frame.decode_result(frame.encode_result(7, 5, "error", b"{}", reason=reason))
    beside = frame.decode_result(frame.encode_result_reference(7, 5, "error", reason=reason))
    assert (inline.reason, inline.body, inline.by_reference) == (reason, b"{}", False)
    assert (beside.reason, beside.body, beside.by_reference) == (reason, b"", True)
    assert [inline.skipped, inline.notice, beside.skipped, beside.notice] == [False] * 4


@given(attempt=st.integers(0, 2**32 - 1), by_reference=st.booleans(), trace=traces)
def test_an_attempt_travels_in_the_flags(attempt: int, by_reference: bool, trace: str) -> None:
    tries = frame.tries_of(attempt)
    if by_reference:
        record = frame.encode_task_reference(1, 1.0, 2, b"id", 4, trace.encode(), tries)
    else:
        record = frame.encode_task(1, 1.0, 2, b"id", b"body", b"", trace.encode(), tries)
    got = frame.decode_task(record)
    assert (got.attempt, got.by_reference, got.trace) == (min(max(attempt, 1), 1 << 24), by_reference, trace)
    assert len(record) == len(
        frame.encode_task(1, 1.0, 2, b"id", b"" if by_reference else b"body", b"", trace.encode())
    )
