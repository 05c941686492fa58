"""What stands in the metadata of a call is read with care: it comes from the other side."""

from __future__ import annotations

import pytest

from arbd.wire.call_metadata import LEASE_KEY, milliseconds, seconds_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1500", 1.5), ("0", 0.0), ("", None), ("-1", None), ("1e9", None), ("9" * 13, None), (b"1500", None)],
)
def test_a_length_of_time(value: str | bytes, seconds: float | None) -> None:
    assert seconds_of([("other", "1"), (LEASE_KEY, value)], LEASE_KEY) == seconds


def test_there_and_back() -> None:
    assert seconds_of([(LEASE_KEY, milliseconds(0.25))], LEASE_KEY) == 0.25
    assert seconds_of([], LEASE_KEY) is None
