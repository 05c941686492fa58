"""The table of commands: each file of ``arbd/cli`` is a command under one heading of the help, and nothing else is."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module

from cli_support import invoke

import arbd.cli
from arbd.cli._groups import COMMANDS, GROUPS


def test_every_command_has_a_place() -> None:
    modules = {name for _, name, _ in pkgutil.iter_modules(arbd.cli.__path__) if not name.startswith("_")}
    assert sorted(COMMANDS) == sorted(name.replace("_", "-") for name in modules)


def test_no_command_has_two() -> None:
    assert len(set(COMMANDS)) == len(COMMANDS)


def test_a_command_is_called_what_its_file_is_called() -> None:
    assert [import_module(f"arbd.cli.{name.replace('-', '_')}").command.name for name in COMMANDS] == list(COMMANDS)


def test_the_help_shows_each_under_its_heading() -> None:
    shown = re.split(r"^(\w[\w ]+):$", invoke("--help").stdout, flags=re.MULTILINE)
    sections = dict(zip(shown[1::2], shown[2::2], strict=True))
    lists = {
        heading: tuple(re.findall(r"^  ([a-z][\w-]*) ", sections[heading].partition("\n\n")[0], re.MULTILINE))
        for heading in GROUPS
    }
    assert lists == GROUPS
