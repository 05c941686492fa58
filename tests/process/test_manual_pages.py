"""``make man``: the pages, as the programs take them that show manuals: not one warning.

groff, man and mandoc are asked where they are installed; which one is missing is said loudly.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, text_of

_READERS = {
    "groff": ["-man", "-ww", "-z", "-Tutf8"],
    "man": ["--warnings", "--local-file"],
    "mandoc": ["-T", "lint"],
}
#: A date would make other pages of the same version.
_WANTED = "missing date"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("manual")
    subprocess.run([sys.executable, "-m", "arbd.cli._manual", directory], check=True, timeout=60)
    return sorted(directory.iterdir())


@pytest.mark.parametrize("reader", _READERS)
def test_no_reader_warns(reader: str, pages: list[Path]) -> None:
    if shutil.which(reader) is None:
        pytest.skip(f"NO {reader.upper()} HERE: the pages are not tried with it")
    for page in pages:
        done = subprocess.run(
            [reader, *_READERS[reader], page], capture_output=True, text=True, timeout=60, check=False
        )
        told = [*done.stderr.splitlines(), *(done.stdout.splitlines() if reader == "mandoc" else [])]
        assert [line for line in told if _WANTED not in line] == []


def test_some_reader_is_there() -> None:
    """A machine without any would prove nothing."""
    assert any(shutil.which(reader) for reader in _READERS), f"none of {', '.join(_READERS)} is installed"


def test_make_writes_them_where_git_does_not_look() -> None:
    assert "\t$(BIN)/python -m arbd.cli._manual man\n" in text_of("Makefile")
    assert "man/" in (ROOT / ".gitignore").read_text().splitlines()
