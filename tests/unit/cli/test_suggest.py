"""What a wrong word may have meant: the likeliest word there is, or why there is none of that kind."""

from __future__ import annotations

import pytest

from arbd.cli._groups import COMMANDS
from arbd.cli._suggest import _SAYS, CommandWords, option_before_command, unknown_command, unknown_option
from arbd.settings.table import TABLE, Setting

RUN = CommandWords(
    "run",
    ("--workers", "--pin", "--no-pin", "--timeout", "--log-level", "--help"),
    {"target": "[TARGET]"},
    ("--debug",),
)
SCALE = CommandWords("scale", ("--no-wait", "--json", "--config"), {"workers": "N", "daemon": "[DAEMON]"}, ("--debug",))


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("stauts", "status"),
        ("STATUS", "status"),
        ("log_level", "log-level"),
        ("loglevel", "log-level"),
        ("install-unit", "install-units"),
        ("replase", "replace"),
        ("event", "events"),
        ("dr", "drain"),
        ("re", "resume, reload or replace"),
        ("complete", "completion"),
    ],
)
def test_a_command_that_was_meant(word: str, meant: str) -> None:
    assert unknown_command(word, COMMANDS) == f"There is no command {word!r}; did you mean {meant}?"


@pytest.mark.parametrize("word", ["fly", "", " ", "\x1b[31m", "übung", "x" * 5000])
def test_a_word_that_is_like_nothing_says_where_the_list_is(word: str) -> None:
    assert unknown_command(word, COMMANDS) == f"There is no command {word!r}; `arbd --help` lists them."


@pytest.mark.parametrize(
    "word", ["prices.py", "./my dir/prices.py:build", "my_package.provider:build", "prices:Prices"]
)
def test_a_target_in_the_place_of_a_command(word: str) -> None:
    told = unknown_command(word, COMMANDS)
    assert told == f"There is no command {word!r}, but a TARGET comes behind one: arbd dev {word}, or arbd run {word}."


def test_words_of_other_tools_are_answered_and_none_is_a_command() -> None:
    assert "SIGTERM" in unknown_command("stop", COMMANDS)
    assert "arbd reload" in unknown_command("restart", COMMANDS)
    assert set(_SAYS).isdisjoint(COMMANDS)


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--worker", "--workers"),
        ("--wrokers", "--workers"),
        ("--no-pinning", "--no-pin"),
        ("--loglevel", "--log-level"),
        ("-w", "--workers"),
        ("--time", "--timeout"),
    ],
)
def test_an_option_that_was_meant(option: str, meant: str) -> None:
    assert unknown_option(option, RUN) == f"There is no option {option}; did you mean {meant}?"


@pytest.mark.parametrize("option", ["--colour", "-x", "--", "-"])
def test_an_option_that_is_like_nothing(option: str) -> None:
    assert unknown_option(option, SCALE) == f"There is no option {option}; `arbd scale --help` lists them."


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert "\x1b" not in unknown_option("--\x1b[31m", SCALE) + option_before_command("--\x1b[31m", ["--debug"])


def test_an_option_that_stands_before_commands() -> None:
    told = "There is no option --debug behind scale: it stands before the command, as in arbd --debug scale."
    assert unknown_option("--debug", SCALE) == told


def test_an_option_that_is_an_argument() -> None:
    assert unknown_option("--workers", SCALE) == "There is no option --workers: it is an argument, as in arbd scale N."


@pytest.mark.parametrize(
    "setting",
    [each for each in TABLE if not (each.flag or each.secret or each.name in RUN.arguments)],
    ids=lambda each: each.name,
)
def test_a_setting_without_an_option_is_told_where_settings_are_taken(setting: Setting) -> None:
    option = "--" + setting.name.replace("_", "-").replace(".", "-")
    told = f"There is no option {option}: {setting.name} is a setting without one; set it in arbd.toml, or by "
    assert unknown_option(option, RUN) == f"{told}{setting.variable}."
    assert "is a setting" not in unknown_option(option, SCALE)


@pytest.mark.parametrize("option", ["--token", "--auth-token", "--hub-auth-token", "--auth_token"])
@pytest.mark.parametrize("command", [RUN, SCALE], ids=["run", "scale"])
def test_the_token_never_belongs_on_a_command_line(option: str, command: CommandWords) -> None:
    assert "set it by the variable PROVIDER_AUTH_TOKEN" in unknown_option(option, command)


def test_an_option_before_the_command() -> None:
    assert option_before_command("--degub", ["--debug"]) == (
        "There is no option --degub before a command; did you mean --debug?"
    )
    assert option_before_command("--workers", ["--debug"]).endswith("stand behind it, as in arbd run --workers.")
