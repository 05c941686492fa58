"""What a wrong word of the command line may have meant: a command, an option, a setting, a TARGET, a payload.

Pure: words in, one sentence out. Values are never repeated: one of them may be the token.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from arbd.settings.table import CONFIG_FILE, TABLE, Setting

_STOP: Final = "SIGTERM stops a daemon: systemctl stop arbd@NAME, or kill PID; `arbd drain` only lets it finish"
# Words of other tools that are not close to what arbd calls the same.
_SAYS: Final = {
    "help": "`arbd --help` lists the commands, `arbd COMMAND --help` explains one",
    "stop": _STOP,
    "shutdown": _STOP,
    "quit": _STOP,
    "restart": "`arbd reload` loads the code again without losing a task; systemctl restart arbd@NAME starts anew",
    "start": "`arbd run TARGET` runs a provider, systemctl start arbd@NAME its service",
    "serve": "`arbd run TARGET` runs a provider, `arbd hub` serves a hub for tests",
    "logs": "the log goes to standard error: journalctl -u arbd@NAME; `arbd events` has the last notable things",
    "ps": "`arbd status` shows the workers",
    "list": "`arbd status` shows the workers; without a name it names the daemons, if there are several",
    "health": "`arbd status` tells how a daemon is",
    "actions": "`arbd check TARGET` lists a provider's actions",
    "settings": "`arbd config` prints every setting",
    "unpause": "`arbd resume ACTION` ends a pause",
    "workers": "`arbd scale N` sets how many there are, `arbd status` shows them",
}
# Options of other tools, and which of ours does the same.
_OPTIONS_OF_OTHERS: Final = {
    **dict.fromkeys(("--port", "-p", "--host", "--bind", "--address", "--addr"), ("--listen", "--hub")),
    **dict.fromkeys(("--data", "-d", "--body", "--input", "--params", "--args"), ("--payload",)),
    **dict.fromkeys(("--sync", "--follow", "--block"), ("--wait",)),
}
_ALIKE: Final = 0.65  # of 1; one letter wrong in four is still the same word, half of them is another one
_NEARLY_AS_GOOD: Final = 0.1
_TARGET: Final = re.compile(r".*\.py(:\w+)?|\w+(\.\w+)*:\w+")
# What a word without an option looks like, the options that it may belong to, and how each is written.
_LOOKS: Final = (
    (
        re.compile(r"[\[{@].*|.*[\]}]", re.DOTALL),
        {"--payload": "--payload '{\"key\": 1}', as one word, which single quotes keep from the shell"},
    ),
    (re.compile(r".*\.toml"), {"--config": "--config FILE"}),
    (re.compile(r".*\.env"), {"--env-file": "--env-file FILE"}),
    (
        re.compile(r"(\w+://)?([\w.-]+|\[.*\]):\d+|unix:.+"),
        {"--listen": "--listen HOST:PORT", "--hub": "--hub HOST:PORT"},
    ),
)
_PYTHONS: Final = re.compile(r"\b(True|False|None)\b")
_TRAILING_COMMA: Final = re.compile(r",\s*[\]}]")


def unknown_command(word: str, commands: Collection[str]) -> str:
    """What to say about a word that is no command."""
    said = f"There is no command {word!r}"
    if word in _SAYS:
        return f"{said}: {_SAYS[word]}."
    if _TARGET.fullmatch(word):
        return f"{said}, but a TARGET comes behind one: arbd dev {word}, or arbd run {word}."
    if word.startswith("-"):
        return f"{said}."
    found = _close(word.lower().replace("_", "-"), commands)
    return f"{said}; did you mean {_either(found)}?" if found else f"{said}; `arbd --help` lists them."


class CommandWords(NamedTuple):
    """What may stand on the command line of one command: its options, and its arguments by name, each as the usage
    shows it. ``before``: the options that stand before any command."""

    name: str
    options: Collection[str]
    arguments: Mapping[str, str]
    before: Collection[str] = ()


def unknown_option(option: str, command: CommandWords) -> str:
    """What to say about an option that a command does not have."""
    said, known = f"There is no option {_shown(option)}", command.options
    if option in command.before:
        return f"{said} behind {command.name}: it stands before the command, as in arbd {option} {command.name}."
    argument = command.arguments.get(option.lstrip("-").replace("-", "_"))
    if argument is not None:
        return f"{said}: it is an argument, as in arbd {command.name} {argument}."
    ours = [each for each in _OPTIONS_OF_OTHERS.get(option, ()) if each in known]
    if ours:
        return f"{said}; did you mean {ours[0]}?"
    setting = _setting_without(option, known)
    if setting is not None and setting.secret:
        return (
            f"{said}: {setting.name} is a secret, which everybody could read in the list of processes; set it by the "
            f"variable {setting.variable}, or name a file in {setting.name}_file."
        )
    if setting is not None:
        return f"{said}: {setting.name} is a setting without one; set it in {CONFIG_FILE}, or by {setting.variable}."
    found = _close(option, known)
    if found:
        return f"{said}; did you mean {_either(found)}?"
    return f"{said}; `arbd {command.name} --help` lists them."


def option_before_command(option: str, known: Collection[str]) -> str:
    """What to say about an option before the command that is none of ``known``."""
    said, found = f"There is no option {_shown(option)} before a command", _close(option, known)
    if found:
        return f"{said}; did you mean {_either(found)}?"
    return f"{said}: those of a command stand behind it, as in arbd run {_shown(option)}."


def extra_words(words: Sequence[str], command: CommandWords) -> str:
    """What to say about words for which a command has no argument."""
    said = "There is one word too many" if len(words) == 1 else f"There are {len(words)} words too many"
    usage = " ".join(["arbd", *filter(None, [command.name]), *command.arguments.values()])
    option = _option_for(words, command.options)
    if option:
        return f"{said}; did you mean {usage} {option}?"
    return f"{said}: its form is {usage}, with options anywhere; `arbd {command.name} --help` has examples."


def _option_for(words: Sequence[str], known: Collection[str]) -> str:
    """The option, as it is written, that one of these words may belong to; empty: there is none."""
    for looks, options in _LOOKS:
        if any(map(looks.fullmatch, words)) and (found := [how for each, how in options.items() if each in known]):
            return found[0]
    names = [f"--{word.partition('=')[0]}" for word in words]
    return next((name for name in names if name in known and name != "--"), "")


def not_below_hub(word: str, commands: Collection[str], hub: CommandWords) -> str:
    """What to say about a word behind ``arbd hub`` that is no command there."""
    if found := _close(word.lower(), commands):
        return f"There is no command {word!r} of arbd hub; did you mean arbd hub {_either(found)}?"
    if any(looks.fullmatch(word) for looks, options in _LOOKS if "--listen" in options):
        return extra_words([word], hub)
    return f"There is no command {word!r} of arbd hub: `arbd hub` serves one, `arbd hub status` asks one."


def json_slip(text: str) -> str:
    """What is likely to be wrong with a text that should be JSON; empty: nothing that people often do."""
    if not text.strip():
        return "it is empty"
    if text.startswith(("{", "[")) and '"' not in text and "'" not in text and re.search(r"[^\W\d]", text):
        return "it has no double quotes; has the shell taken them? Put single ones around it all: '{\"key\": 1}'"
    if "'" in text and '"' not in text:
        return "JSON has double quotes around keys and texts, and no single ones: '{\"key\": 1}'"
    if _PYTHONS.search(text):
        return "JSON writes true, false and null"
    if _TRAILING_COMMA.search(text):
        return "JSON has no comma behind the last value"
    return ""


def _shown(option: str) -> str:
    return option if option.isprintable() else ascii(option)


def _close(word: str, known: Iterable[str]) -> list[str]:
    """The known words that this one begins or, if there are none, those that are most like it."""
    known = list(known)
    start = f"-{word}" if re.fullmatch(r"-\w", word) else word  # -w for --workers
    begun = [each for each in known if start.strip("-") and each.startswith(start)]
    if begun:
        return begun[:3]
    found = difflib.get_close_matches(word, known, n=3, cutoff=_ALIKE)
    return [each for each in found if _likeness(word, each) > _likeness(word, found[0]) - _NEARLY_AS_GOOD]


def _likeness(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, word).ratio()


def _either(found: Sequence[str]) -> str:
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"


def _setting_without(option: str, known: Collection[str]) -> Setting | None:
    """The setting that an option is the name of, if the command takes settings and this one has no option; a secret is
    one for every command, because there it would stand in the list of processes."""
    word = re.sub(r"[-.]", "_", option.removeprefix("--no-").lstrip("-"))
    for setting in TABLE:
        if setting.flag or (not setting.secret and "--log-level" not in known):
            continue
        if word == setting.attribute or word == setting.name.rpartition(".")[2] or (setting.secret and word == "token"):
            return setting
    return None
