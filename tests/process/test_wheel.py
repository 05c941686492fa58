"""A wheel holds what ``arbd install-units`` writes; nothing of it comes from the clone that the wheel was made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from documents import ROOT

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
PACKED = ("pyproject.toml", "README.md", "LICENSE", "systemd", "arbd")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installed wheel of this project is: its files in a directory."""
    copy, site = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("site")
    for name in PACKED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(copy)], cwd=copy, capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, built.stderr
    assert "absent from the `packages` configuration" not in built.stderr
    (wheel,) = copy.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    shutil.rmtree(copy)
    return site


def test_the_units_are_in_it(site: Path) -> None:
    packed = {path.relative_to(site / "arbd/systemd"): path for path in (site / "arbd/systemd").rglob("*")}
    shipped = {path.relative_to(ROOT / "systemd"): path for path in (ROOT / "systemd").rglob("*")}
    assert packed.keys() == shipped.keys()
    assert not any(path.is_symlink() for path in (site / "arbd/systemd", *packed.values()))
    assert {name: path.read_text() for name, path in packed.items() if path.is_file()} == {
        name: path.read_text() for name, path in shipped.items() if path.is_file()
    }


def test_the_status_page_is_in_it(site: Path) -> None:
    assert (site / "arbd/control/page.html").read_bytes() == (ROOT / "arbd/control/page.html").read_bytes()


def test_they_are_found_there(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "arbd", "install-units", "--root", ".", "--arbd", "/opt/arbd/bin/arbd"]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, timeout=60)
    assert (tmp_path / "etc/systemd/system/arbd@.service").is_file()


def test_nothing_else_than_arbd_is_in_it(site: Path) -> None:
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"arbd"}
