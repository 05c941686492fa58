"""What a wrong word may have meant: the likeliest word there is, or why there is none of that kind."""

from __future__ import annotations

import pytest

from arbd.cli._groups import COMMANDS
from arbd.cli._suggest import (
    _SAYS,
    CommandWords,
    extra_words,
    json_slip,
    not_below_hub,
    option_before_command,
    unknown_command,
    unknown_option,
)
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


@pytest.mark.parametrize(
    ("option", "command", "meant"),
    [
        ("--port", ("--listen", "--hub"), "--listen"),
        ("--port", ("--hub",), "--hub"),
        ("-d", ("--payload", "--debug"), "--payload"),
    ],
)
def test_an_option_of_another_tool(option: str, command: tuple[str, ...], meant: str) -> None:
    assert (
        unknown_option(option, CommandWords("x", command, {})) == f"There is no option {option}; did you mean {meant}?"
    )


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


SUBMIT = CommandWords("submit", ("--payload", "--wait", "--hub", "--json"), {"action": "ACTION"})
HUB = CommandWords("hub", ("--listen", "--help"), {})
CHECK = CommandWords("check", ("--env-file", "--config"), {"target": "[TARGET]"})


@pytest.mark.parametrize(
    ("words", "command", "meant"),
    [
        (['{"a": 1}'], SUBMIT, "arbd submit ACTION --payload '{"),
        (["[1]"], SUBMIT, "arbd submit ACTION --payload '{"),
        (["@order.json"], SUBMIT, "arbd submit ACTION --payload '{"),
        (["1,", "b:", "2}"], SUBMIT, "arbd submit ACTION --payload '{"),
        (["127.0.0.1:50051", "[]}"], SUBMIT, "arbd submit ACTION --payload '{"),
        (["wait"], SUBMIT, "arbd submit ACTION --wait?"),
        (["wait=1"], SUBMIT, "arbd submit ACTION --wait?"),
        (["127.0.0.1:50051"], SUBMIT, "arbd submit ACTION --hub HOST:PORT?"),
        (["grpcs://hub:1"], SUBMIT, "arbd submit ACTION --hub HOST:PORT?"),
        (["[::1]:50051"], HUB, "arbd hub --listen HOST:PORT?"),
        (["unix:/run/hub.sock"], HUB, "arbd hub --listen HOST:PORT?"),
        (["arbd.toml"], CHECK, "arbd check [TARGET] --config FILE?"),
        (["prod.env"], CHECK, "arbd check [TARGET] --env-file FILE?"),
    ],
)
def test_a_word_too_many_that_belongs_behind_an_option(words: list[str], command: CommandWords, meant: str) -> None:
    assert f"; did you mean {meant}" in extra_words(words, command)


@pytest.mark.parametrize("words", [["5"], ["", "="], ["--"], ["\x1b[31m s3cret"], ["x" * 5000]])
def test_any_other_word_too_many_is_not_repeated_and_the_form_is_told(words: list[str]) -> None:
    told = extra_words(words, SUBMIT)
    assert "its form is arbd submit ACTION, with options" in told
    assert [word for word in words if len(word) > 2 and word in told] == []


def test_words_behind_the_hub() -> None:
    assert "did you mean arbd hub status?" in not_below_hub("stauts", ["status"], HUB)
    assert "did you mean arbd hub --listen HOST:PORT?" in not_below_hub("127.0.0.1:1", ["status"], HUB)
    assert "`arbd hub status` asks one" in not_below_hub("serve", ["status"], HUB)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a:1}", "Put single ones around"),
        ("[tea]", "Put single ones around"),
        ("{'a': 1}", "double quotes around keys"),
        ("'hello'", "double quotes around keys"),
        ('{"a": True}', "true, false and null"),
        ('{"a": 1,}', "no comma behind the last"),
        (" ", "empty"),
    ],
)
def test_slips_in_json(text: str, words: str) -> None:
    assert words in json_slip(text)


@pytest.mark.parametrize("text", ['{"a": 1', "{", "[1 2]", '{"it\'s": }'])
def test_other_mistakes_in_json_are_left_to_the_parser(text: str) -> None:
    assert json_slip(text) == ""
