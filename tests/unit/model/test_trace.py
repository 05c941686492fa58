"""Claim: what W3C trace context calls valid names its trace, whatever later versions add; anything else names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc.layout import MIN_RING_BYTES, largest_record
from arbd.model.trace import trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
hex_digits = st.text("0123456789abcdef", min_size=1, max_size=40)


@pytest.mark.parametrize(
    "traceparent", [f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-09-more"]
)
def test_a_valid_one_names_its_trace(traceparent: str) -> None:
    assert trace_id(traceparent) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{PARENT}-01",  # no version
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",  # this version has no more
        f"00-{TRACE}-{PARENT}-01\n",
        f" 00-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-{'x' * 129}",
        f"cc-{TRACE}-{PARENT}-01-a\0b",  # NUL ends the id in a frame
        f"00-{TRACE}-{PARENT}-é1",
    ],
)
def test_anything_else_names_none(traceparent: str) -> None:
    assert trace_id(traceparent) == ""


@given(st.text(max_size=60) | st.tuples(hex_digits, hex_digits, hex_digits, hex_digits).map("-".join))
def test_what_is_passed_on_fits_every_ring_and_is_ascii(traceparent: str) -> None:
    if trace_id(traceparent):
        assert traceparent.isascii()
        assert len(traceparent) < largest_record(MIN_RING_BYTES) // 4
