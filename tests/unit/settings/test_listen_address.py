"""Where to listen: a port alone is this machine's, another address is written out, and no name is looked up."""

from __future__ import annotations

import pytest

from arbd.settings.kinds import listen_address, split_address

PARSE = listen_address().parse


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        (9464, "127.0.0.1:9464"),
        ("9464", "127.0.0.1:9464"),
        (":9464", "127.0.0.1:9464"),
        ("localhost:9464", "127.0.0.1:9464"),
        ("0", "127.0.0.1:0"),
        ("0.0.0.0:9464", "0.0.0.0:9464"),
        ("10.1.2.3:1", "10.1.2.3:1"),
        ("[::1]:9464", "[::1]:9464"),
        ("[0:0::]:9464", "[::]:9464"),
    ],
)
def test_what_it_takes(raw: object, parsed: str) -> None:
    assert PARSE(raw) == parsed


@pytest.mark.parametrize(
    "raw",
    ["", "x", "9464x", "-1", "65536", "1.2.3:1", "host:1", "::1:9464", "[1.2.3.4]:1", "[::1]", True, None, 1.5, "¹"],
)
def test_what_it_does_not_take(raw: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # a kind raises nothing else, and without a text
        PARSE(raw)


def test_the_parts_of_an_address() -> None:
    assert split_address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert split_address("[::1]:0") == ("::1", 0)
