"""Each kind takes a value in every form a layer can bring it, and refuses everything else with ``ValueError``."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.settings import kinds
from arbd.settings.kinds import Kind

EVERY_KIND = [
    kinds.text(),
    kinds.path(),
    kinds.choice("a", "b"),
    kinds.switch(),
    kinds.whole(1, 9),
    kinds.seconds(0.5, 60),
    kinds.size(1, 1 << 30),
    kinds.power_of_two(16, 1 << 20),
    kinds.auto_or(kinds.whole(1, 9)),
    kinds.time_zone(),
    kinds.hub_address(),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists, max_leaves=3
)


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (kinds.text(), " a b ", "a b"),
        (kinds.choice("json", "console"), "JSON", "json"),
        (kinds.switch(), True, True),
        (kinds.switch(), "off", False),
        (kinds.switch(), "1", True),
        (kinds.whole(1, 9), 9, 9),
        (kinds.whole(1, 9), "1", 1),
        (kinds.seconds(0, 7200), 2, 2.0),
        (kinds.seconds(0, 7200), "0.25", 0.25),
        (kinds.seconds(0, 7200), "250ms", 0.25),
        (kinds.seconds(0, 7200), "2 h", 7200.0),
        (kinds.seconds(0, 7200), "1e-3", 0.001),
        (kinds.size(1, 1 << 30), "16MiB", 16 << 20),
        (kinds.size(1, 1 << 30), "1.5 KiB", 1536),
        (kinds.size(1, 1 << 30), 4096, 4096),
        (kinds.size(1, 1 << 30), "1MB", 1_000_000),
        (kinds.power_of_two(16, 1 << 20), "256KiB", 256 << 10),
        (kinds.auto_or(kinds.whole(1, 9)), "auto", "auto"),
        (kinds.auto_or(kinds.whole(1, 9)), "3", 3),
        (kinds.time_zone(), "Europe/Moscow", "Europe/Moscow"),
        (kinds.hub_address(), "hub-grpc:50051", "hub-grpc:50051"),
        (kinds.hub_address(), "[::1]:50051", "[::1]:50051"),
        (kinds.hub_address(), "grpcs://hub.example:443", "grpcs://hub.example:443"),
        (kinds.hub_address(), "unix:/run/hub.sock", "unix:/run/hub.sock"),
    ],
)
def test_a_value_is_read(kind: Kind, raw: object, expected: object) -> None:
    value = kind.parse(raw)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (kinds.text(), ""),
        (kinds.text(), "two\nlines"),
        (kinds.text(), 5),
        (kinds.choice("json"), "xml"),
        (kinds.choice("json"), ["json"]),
        (kinds.switch(), 1),
        (kinds.switch(), "maybe"),
        (kinds.whole(1, 9), 0),
        (kinds.whole(1, 9), 10),
        (kinds.whole(1, 9), True),
        (kinds.whole(1, 9), 2.0),
        (kinds.whole(1, 9), "9" * 5000),
        (kinds.seconds(0, 60), float("nan")),
        (kinds.seconds(0, 60), float("inf")),
        (kinds.seconds(0, 60), "nan"),
        (kinds.seconds(0, 60), -1),
        (kinds.seconds(0, 60), True),
        (kinds.seconds(0, 60), "5 parsecs"),
        (kinds.seconds(0, 60), 10**400),
        (kinds.size(1, 1 << 30), "0.3"),
        (kinds.size(1, 1 << 30), "16 mib"),
        (kinds.power_of_two(16, 1 << 20), 17),
        (kinds.auto_or(kinds.whole(1, 9)), "automatic"),
        (kinds.time_zone(), "Europe"),
        (kinds.time_zone(), "../etc/passwd"),
        (kinds.hub_address(), "hub"),
        (kinds.hub_address(), "hub:0"),
        (kinds.hub_address(), "hub:65536"),
        (kinds.hub_address(), "ftp://hub:1"),
        (kinds.hub_address(), "https://me:pw@hub:1"),
        (kinds.hub_address(), "http://hub:1/path"),
    ],
)
def test_a_value_is_refused(kind: Kind, raw: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the whole promise; what is allowed is in `expects`
        kind.parse(raw)


@given(st.sampled_from(EVERY_KIND), ANYTHING)
def test_nothing_but_value_error_ever_comes_out(kind: Kind, raw: Any) -> None:
    with contextlib.suppress(ValueError):
        kind.parse(raw)


@given(st.integers(1, 1 << 40))
def test_a_shown_size_reads_back_as_itself(count: int) -> None:
    assert kinds.size(0, 1 << 40).parse(kinds.show_size(count)) == count
