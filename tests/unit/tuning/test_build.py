"""Another build is found where it is named, and its code is what runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from arbd.tuning.build import Build, BuildError, find, probe, this_build


def checkout(place: Path, text: str = "__version__ = '7.7'\n") -> Path:
    (place / "arbd").mkdir(parents=True)
    (place / "arbd" / "__main__.py").write_text("")
    (place / "arbd" / "__init__.py").write_text(text)
    return place


def test_a_checkout_an_environment_and_a_python_are_builds(tmp_path: Path) -> None:
    code = checkout(tmp_path / "code")
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    assert find(str(code)) == Build(sys.executable, str(code))
    assert find(str(tmp_path / "venv")) == find(str(python)) == Build(str(python))


@pytest.mark.parametrize("name", ["nothing", "empty", "file"])
def test_anything_else_is_said_to_be_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="name a virtual environment"):
        find(str(tmp_path / name))


def test_no_other_code_of_arbd_comes_before_it(tmp_path: Path) -> None:
    one, other = checkout(tmp_path / "one"), checkout(tmp_path / "other")
    environ = {"PYTHONPATH": f"{one}:{tmp_path}", "HOME": "/h"}
    assert Build("python").environment(environ) == {"PYTHONPATH": str(tmp_path), "HOME": "/h"}
    assert Build("python", str(other)).environment(environ)["PYTHONPATH"] == f"{other}:{tmp_path}"
    assert Build("python").environment({"PYTHONPATH": str(one)}) == {}


def test_a_probe_tells_the_version_of_that_code(tmp_path: Path) -> None:
    facts = probe(find(str(checkout(tmp_path / "code"))), {"PYTHONPATH": ""})
    assert facts.packages["arbd"] == "7.7"
    assert facts.python.count(".") == 2


def test_this_build_is_the_one_that_runs() -> None:
    assert probe(this_build(), {}).packages.keys() >= {"arbd", "msgspec", "uvloop"}


@pytest.mark.parametrize(
    ("text", "reason"), [("raise OSError('broken')", "broken"), ("print('hello'); import os; os._exit(0)", "answer")]
)
def test_code_that_does_not_work_is_said(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BuildError, match=reason):
        probe(find(str(checkout(tmp_path / "code", text))), {})


def test_a_python_that_does_not_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="does not run"):
        probe(Build(str(tmp_path / "none")), {})
