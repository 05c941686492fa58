"""The oldest releases that ``pyproject.toml`` allows, as constraints for pip: what ``make test-oldest`` installs.

    python tests/lowest_bounds.py EXTRA...  ->  name==lowest, one line for each dependency, the build's included

There is no second list to keep: a bound that is changed there is tested from then on. The oldest releases of packages
go with the oldest Python, for which they were made; newer ones find no wheel of them. What dependencies themselves
depend on is pip's to choose.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

PYPROJECT: Final = Path(__file__).parent.parent / "pyproject.toml"

# A name, perhaps extras (which a constraint must not have), a lower bound, and perhaps further bounds.
_REQUIREMENT: Final = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?>=(?P<lowest>[\w.]+)(?:,[^;]*)?")


class BoundError(ValueError):
    """What ``pyproject.toml`` says names no oldest release, or one that cannot be installed."""


def constraints(pyproject: dict[str, Any], extras: Iterable[str]) -> list[str]:
    """One line for each dependency of the project, of its build and of ``extras``, sorted. Raises ``BoundError``."""
    project = pyproject["project"]
    requirements = [*pyproject["build-system"]["requires"], *project["dependencies"]]
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    lowest: dict[str, str] = {}
    for name, bound in map(_lowest, requirements):
        if lowest.setdefault(name, bound) != bound:
            raise BoundError(
                f"{name} has two lower bounds, {lowest[name]} and {bound}: no release is the oldest of both"
            )
    return sorted(f"{name}=={bound}" for name, bound in lowest.items())


def oldest_python(pyproject: dict[str, Any]) -> str:
    """The oldest Python that the project runs on, such as 3.11."""
    return str(pyproject["project"]["requires-python"]).removeprefix(">=")


def _lowest(requirement: str) -> tuple[str, str]:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise BoundError(f"{requirement!r} names no oldest release; write name>=lowest,<first that is too new")
    return re.sub(r"[-_.]+", "-", match["name"]).lower(), match["lowest"]


def main(extras: list[str]) -> str:
    """The constraints, one a line; a message ends the process if this is not the Python that they are for."""
    pyproject = tomllib.loads(PYPROJECT.read_text())
    here, oldest = "{}.{}".format(*sys.version_info), oldest_python(pyproject)
    if here != oldest:
        sys.exit(f"the oldest releases go with the oldest Python, {oldest}; this is {here}: say PYTHON=python{oldest}")
    return "\n".join(constraints(pyproject, extras))


if __name__ == "__main__":
    print(main(sys.argv[1:]))
