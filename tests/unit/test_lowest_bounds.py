"""What ``make test-oldest`` installs is what ``pyproject.toml`` promises, and only that."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import lowest_bounds
import pytest
from lowest_bounds import BoundError, constraints


def project(*dependencies: str, build: tuple[str, ...] = (), **extras: list[str]) -> dict[str, Any]:
    return {
        "build-system": {"requires": list(build)},
        "project": {"dependencies": list(dependencies), "optional-dependencies": extras, "requires-python": ">=3.11"},
    }


def test_the_build_the_project_and_the_extras_that_are_named_are_bound() -> None:
    given = project("b>=1.2,<3", build=("c>=77.0.1",), one=["A_x.y[more]>=0.5"], two=["never>=1"])
    assert constraints(given, ["one"]) == ["a-x-y==0.5", "b==1.2", "c==77.0.1"]


def test_what_stands_in_two_places_is_one_line() -> None:
    assert constraints(project("a>=1,<3", one=["a>=1,<2"]), ["one"]) == ["a==1"]


def test_two_lower_bounds_of_one_package_are_refused() -> None:
    with pytest.raises(BoundError, match="a has two lower bounds, 1 and 2"):
        constraints(project("a>=1", one=["A>=2"]), ["one"])


@pytest.mark.parametrize("requirement", ["a", "a<2", "a==1", "a~=1.0", "a>1", "a<2,>=1", "a>=1; python_version<'3.13'"])
def test_a_requirement_without_an_oldest_release_is_refused(requirement: str) -> None:
    with pytest.raises(BoundError, match="names no oldest release"):
        constraints(project(requirement), [])


def test_every_requirement_of_this_project_names_its_oldest_release() -> None:
    given = tomllib.loads(lowest_bounds.PYPROJECT.read_text())
    extras = given["project"]["optional-dependencies"]
    lines = constraints(given, extras)
    named = [*given["project"]["dependencies"], *(each for extra in extras.values() for each in extra)]
    named += given["build-system"]["requires"]
    assert len(lines) == len({each.partition(">")[0].partition("[")[0].lower() for each in named})
    assert any(line.startswith("setuptools==") for line in lines)


def test_on_another_python_than_the_oldest_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    with pytest.raises(SystemExit, match=r"the oldest Python, 3\.11; this is 3\.99: say PYTHON=python3\.11"):
        lowest_bounds.main([])


def test_on_the_oldest_python_it_prints_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    assert "grpcio==" in lowest_bounds.main(["test"])
