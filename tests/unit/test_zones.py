"""Zones are found by name, and a name without a zone is one kind of error whatever is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from arbd.zones import zone


def test_utc_is_the_standard_library_s() -> None:
    assert zone("UTC") is UTC


def test_a_zone_has_its_summer_time() -> None:
    offsets = [datetime(2024, month, 1, tzinfo=zone("Europe/Berlin")).utcoffset() for month in (1, 7)]
    assert offsets == [timedelta(hours=1), timedelta(hours=2)]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe", "a\0b"])
def test_any_other_name_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone is called"):
        zone(name)
