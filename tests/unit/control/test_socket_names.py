"""From a provider's name to the file of its socket and back, whatever the name is; and what a selector means."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.control.names import MAX_DAEMONS, SocketName, matches, matches_number, names_for, parse


def first(provider: str) -> SocketName:
    return next(names_for(provider))


@pytest.mark.parametrize(
    ("provider", "files"),
    [
        ("prices", ["prices.sock", "prices@2.sock", "prices@3.sock"]),
        ("a/b c@d", ["a%2Fb%20c%40d.sock", "a%2Fb%20c%40d@2.sock", "a%2Fb%20c%40d@3.sock"]),
        ("..", ["...sock", "..@2.sock", "..@3.sock"]),
    ],
)
def test_the_daemons_of_a_provider_have_names_of_their_own(provider: str, files: list[str]) -> None:
    assert [name.file for name in islice(names_for(provider), 3)] == files


def test_there_is_an_end_to_it() -> None:
    assert len(list(names_for("p"))) == MAX_DAEMONS


@given(st.text(min_size=1), st.integers(1, MAX_DAEMONS))
def test_a_name_is_one_short_file_name_and_comes_back(provider: str, number: int) -> None:
    name = SocketName(first(provider).stem, number)
    assert "/" not in name.file
    assert len(name.file.encode()) <= 60
    assert parse(name.file) == name
    assert matches(name, provider)


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_providers_have_different_files(one: str, other: str) -> None:
    assert (first(one) == first(other)) == (one == other)


@pytest.mark.parametrize(
    "file",
    ["", ".sock", "prices", "prices.lock", "prices.sock.old", "@2.sock", "p@.sock", "p@x.sock", "p@0.sock", "p@1.sock"],
)
def test_other_files_are_no_sockets(file: str) -> None:
    assert parse(file) is None


def test_a_number_beyond_all_daemons_is_none() -> None:
    assert parse(f"p@{MAX_DAEMONS + 1}.sock") is None


def test_a_provider_means_all_its_daemons_and_a_number_one_of_them() -> None:
    names = list(islice(names_for("prices"), 3))
    assert [matches(name, "prices") for name in names] == [True, True, True]
    assert [matches_number(name, "prices@1") for name in names] == [True, False, False]
    assert [matches_number(name, "prices@3") for name in names] == [False, False, True]
    assert [matches_number(name, name.selector) for name in names] == [True, True, True]


def test_a_provider_that_is_called_like_a_selector_is_a_provider() -> None:
    name = first("prices@2")
    assert matches(name, "prices@2")
    assert not matches_number(name, "prices@2")
    assert name.provider == "prices@2"


def test_a_long_name_is_cut_and_still_found() -> None:
    long = "p" * 200
    assert first(long).provider.startswith("ppp")
    assert matches(first(long), long)
    assert not matches(first(long), long + "p")
