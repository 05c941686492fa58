"""The help of a command: examples before options, and only options that matter, unless all are asked for."""

from __future__ import annotations

import pytest
from cli_support import invoke

from arbd.cli import COMMANDS


@pytest.mark.parametrize("command", [*COMMANDS, "hub status"])
def test_examples_come_before_options(command: str) -> None:
    told = invoke(*command.split(), "--help").stdout
    assert 0 < told.index("Examples:") < told.index("Options:")
    assert told.count("Examples:") == 1
    assert "\b" not in told


@pytest.mark.parametrize(
    ("command", "kept", "left_out"),
    [
        ("check", ["--workers", "--env-file", "--config"], ["--hub", "--log-format", "--pin"]),
        ("schema", ["--env-file", "--config"], ["--hub", "--workers", "--timeout"]),
        ("dev", ["--workers", "--listen", "--timeout"], ["--log-format", "--pin"]),
    ],
)
def test_what_matters_little_is_shown_where_all_is_asked_for(
    command: str, kept: list[str], left_out: list[str]
) -> None:
    words, every = (invoke(command, flag).stdout.split() for flag in ("--help", "--help-all"))
    assert [each for each in kept if each not in words] == []
    assert [each for each in left_out if each in words] == []
    assert [each for each in (*kept, *left_out) if each not in every] == []


def test_an_option_that_is_not_shown_is_taken_and_known() -> None:
    assert "did you mean --log-format?" in invoke("check", "x.py", "--log-fromat", "json").stderr


def test_an_option_that_a_command_refuses_is_shown_nowhere() -> None:
    assert "--hub" not in invoke("dev", "--help-all").stdout.split()


def test_a_word_too_many_is_told_with_where_it_belongs() -> None:
    found = invoke("submit", "add", '{"a": 1}')
    assert (found.exit_code, "--payload '{" in found.stderr) == (2, True)
    assert "arbd hub --listen HOST:PORT" in invoke("hub", "127.0.0.1:1").stderr
    assert "arbd hub status --hub HOST:PORT" in invoke("hub", "status", "127.0.0.1:1").stderr
