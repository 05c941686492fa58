"""Claim: what W3C trace context calls valid names its trace, whatever later versions add; anything else names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc.layout import MIN_RING_BYTES, largest_record
from arbd.model.trace import ids, joined, trace_id, valid_state

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


STATE = "rojo=00f067aa0ba902b7,congo@x=t61rcWkgMzE"


def test_a_state_travels_with_its_trace_as_one_text() -> None:
    traceparent = f"00-{TRACE}-{PARENT}-01"
    assert ids(traceparent) == (TRACE, PARENT)
    assert joined(traceparent, STATE) == f"{traceparent} {STATE}"
    assert joined(traceparent, "") == traceparent
    assert joined(traceparent, "none") == traceparent
    assert joined("none", STATE) == ""


@pytest.mark.parametrize(
    "state", ["a", "A=1", "a=1\n", "a=b=c", "a=1,a=2", "a=é", "a=1\0b=2", "=1", "a=", "x" * 100_000]
)
def test_what_is_no_state_is_not_passed_on(state: str) -> None:
    assert valid_state(state) == ""


def test_blanks_and_empty_members_are_left_out_and_what_is_too_long_at_its_end() -> None:
    assert valid_state(" a=1 ,\t, b=2 ") == "a=1,b=2"
    assert valid_state(",".join(f"k{n}=v" for n in range(40))) == ",".join(f"k{n}=v" for n in range(32))
    assert valid_state(f"a={'x' * 250},b={'x' * 250},c={'x' * 250}") == f"a={'x' * 250},b={'x' * 250}"


@given(st.text(max_size=80) | st.from_regex(r"([a-z]{1,9}=[!-~]{1,40},){0,40}", fullmatch=True))
def test_a_state_that_is_passed_on_fits_and_has_no_control_characters(state: str) -> None:
    found = valid_state(state)
    assert len(found) <= 512
    assert found.isprintable()
    assert found.isascii()
    assert valid_state(found) == found
