"""The plot is written as PNG and SVG without a display, and without matplotlib there is a clear message."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tuning_support import BASE, record

from arbd.errors import ConfigError
from arbd.tuning import plot
from arbd.tuning.record import Record

UNARY = msgspec.structs.replace(BASE, protocol="unary")
SEVERAL = {
    msgspec.structs.replace(point, workers=count): [100.0 * count, 110.0 * count]
    for point in (BASE, UNARY)
    for count in (1, 2, 16)
}


@pytest.fixture(autouse=True, scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A picture of several points. Drawn before all else: matplotlib keeps the fonts it has used open for the life of
    the process, which is not a leak of a test."""
    return list(plot.draw(record(SEVERAL), str(tmp_path_factory.mktemp("several") / "base")))


def assert_written(png: Path, svg: Path) -> None:
    assert (png.name, svg.name) == ("base.png", "base.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in svg.read_text()


def test_both_files_are_written(several: list[Path]) -> None:
    assert_written(*several)


@pytest.mark.parametrize("found", [record({BASE: [100.0]}), record({UNARY: [100.0]})])
def test_both_files_are_written_of_one_point(tmp_path: Path, found: Record) -> None:
    assert_written(*plot.draw(found, str(tmp_path / "base")))


def test_both_protocols_are_in_the_picture(several: list[Path]) -> None:
    _, svg = several
    assert {name: name in svg.read_text() for name in ("<!-- stream -->", "<!-- unary -->")} == {
        "<!-- stream -->": True,
        "<!-- unary -->": True,
    }


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    plot.require()
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'arbd\[plot\]'"):
        plot.require()
