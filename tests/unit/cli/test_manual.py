"""The manual: a page for every command and one for the settings, that say what the help says, as roff takes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_support import invoke

from arbd.cli import COMMANDS, _manual
from arbd.settings.table import TABLE

PAGES = _manual.pages("1.2.3")


def words_of(page: str) -> str:
    """A page as it is read: without requests and escapes, filled."""
    lines = [line for line in page.splitlines() if not line.startswith((".nf", ".fi", ".TP", ".PP", '.\\"', ".TH"))]
    text = "\n".join(line.removeprefix(".SH ").removeprefix(".SS ") for line in lines)
    for escape, letter in (("\\fB", ""), ("\\fR", ""), ("\\&", ""), ("\\-", "-"), ("\\e", "\\")):
        text = text.replace(escape, letter)
    return " ".join(text.split())


def test_every_command_has_a_page() -> None:
    assert sorted(PAGES) == sorted(
        ["arbd.1", "arbd.toml.5", "arbd-hub-status.1", *(f"arbd-{name}.1" for name in COMMANDS)]
    )


@pytest.mark.parametrize("command", [*COMMANDS, "hub status"])
def test_a_page_says_what_the_help_says(command: str) -> None:
    """Each word of the help, but for its headings and for examples' indentation."""
    page = words_of(PAGES[f"arbd-{command.replace(' ', '-')}.1"])
    told = invoke(*command.split(), "--help").stdout.replace("`", "").replace("[default: on]", "")
    for word in (
        told.replace("Usage: cli", "").replace("Options:", "").replace("Examples:", "").replace("Keys:", "").split()
    ):
        if not word.endswith("-"):  # cut by the width of the help
            assert word in page, word


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_what_a_page_has(name: str) -> None:
    needed = ["NAME", "DESCRIPTION", "SEE ALSO"]
    needed += ["SETTINGS"] if name == "arbd.toml.5" else ["SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS"]
    assert [heading for heading in needed if f".SH {heading}\n" not in PAGES[name]] == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_that_are_named_are_there(name: str) -> None:
    see_also = words_of(PAGES[name].partition(".SH SEE ALSO")[2])
    named = [f"{page}.{number}" for page, number in re.findall(r"([a-z][\w.-]*)\((\d)\)", see_also)]
    assert named
    assert [page for page in named if page not in PAGES] == []


def test_a_command_below_another_one_is_named_by_it_and_names_it() -> None:
    below, above = (PAGES[name].partition(".SH SEE ALSO")[2] for name in ("arbd-hub-status.1", "arbd-hub.1"))
    assert ("arbd-hub(1)" in words_of(below), "arbd-hub-status(1)" in words_of(above)) == (True, True)
    assert "arbd hub status" in words_of(PAGES["arbd-hub-status.1"])


def test_every_setting_stands_in_that_of_the_settings() -> None:
    page = words_of(PAGES["arbd.toml.5"])
    assert [setting.name for setting in TABLE if f"{setting.name} {setting.doc.split()[0]}" not in page] == []
    assert [setting.name for setting in TABLE if f"Variable {setting.variable}" not in page] == []


def test_the_same_version_makes_the_same_pages() -> None:
    assert _manual.pages("1.2.3") == PAGES


def test_nothing_of_a_text_is_a_request_or_an_escape() -> None:
    assert _manual._filled(".so /etc/passwd \\n and `'x`") == "\\&.so /etc/passwd \\en and \\fB'x\\fR\n"
    assert _manual._verbatim("  .so x\n  'y\n  a -b") == ".nf\n\\&.so x\n\\&'y\na \\-b\n.fi\n"
    assert all(len(line) <= 80 for line in _manual._filled(". ' " * 200).splitlines())
    assert all(line.startswith("\\&") for line in _manual._filled(". ' " * 200).splitlines())


def test_they_are_written_into_a_directory(tmp_path: Path) -> None:
    _manual.main(tmp_path / "new" / "man", "1.2.3")
    assert {file.name: file.read_text() for file in (tmp_path / "new" / "man").iterdir()} == PAGES
