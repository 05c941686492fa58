"""A notice survives its record, whatever text is in it, and always fits the smallest ring."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc import frame, layout, notice

text = st.text(max_size=5000)
notices = st.one_of(
    st.builds(notice.Unfit, text),
    st.builds(notice.ReplaceSoon, st.sampled_from(get_args(notice.Reason)), text),
    st.builds(notice.Leaving, st.sampled_from(get_args(notice.Reason)), text, st.text(max_size=200)),
)


@given(notices)
def test_it_comes_back_with_its_detail_cut(said: notice.Unfit | notice.ReplaceSoon | notice.Leaving) -> None:
    record = frame.encode_notice(notice.encode(said))
    result = frame.decode_result(record)
    assert (result.seq, result.notice, result.skipped, result.by_reference) == (0, True, False, False)
    heard = notice.decode(result.body)
    assert isinstance(heard, type(said))
    assert said.detail == heard.detail or said.detail.startswith(heard.detail.removesuffix("..."))


def test_the_longest_fits_a_record_of_the_smallest_ring() -> None:
    for character in ("\U0001f600", "\ud800"):
        body = notice.encode(notice.Leaving("interrupted", character * 5000, character * 5000))
        assert len(frame.encode_notice(body)) <= layout.largest_record(layout.MIN_RING_BYTES)
        stopped = notice.encode(notice.Stopped(2**63, character * 5000))
        assert len(frame.encode_notice(stopped)) <= layout.largest_record(layout.MIN_RING_BYTES)


@given(st.integers(0, 2**63), text)
def test_where_a_task_was_comes_back_with_its_stack_cut(seq: int, stack: str) -> None:
    heard = notice.decode(notice.encode(notice.Stopped(seq, stack)))
    assert isinstance(heard, notice.Stopped)
    assert heard.seq == seq
    assert stack == heard.stack or len(heard.stack) > 0
