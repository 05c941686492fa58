"""The manual pages, made of the help that ``arbd --help`` and its commands print, and of the table of settings.

    python -m arbd.cli._manual DIRECTORY      arbd.1, arbd-COMMAND.1 for each (also arbd-hub-status.1), arbd.toml.5

``make man`` calls it. Nothing is written that the help does not say: a page that is wrong is mended there. No date
stands in a page, so that the same version always makes the same pages.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from arbd.cli import cli
from arbd.cli._groups import COMMANDS, GROUPS
from arbd.cli._help import RareOption
from arbd.cli._show import value
from arbd.settings.table import CONFIG_FILE, TABLE, Setting

_VERBATIM: Final = "\b\n"  # click's mark for a paragraph whose lines stay as they are
_EXIT: Final = re.compile(r"\bexit codes?\b", re.IGNORECASE)
_CODE: Final = re.compile(r"`([^`]+)`")
_SETTINGS_INTRODUCTION: Final = (
    f"arbd run, dev, check, schema and config read {CONFIG_FILE} in the working directory, or the file that --config "
    "names. A dot in a name is a table: `log.level` is level in [log]. Later wins: defaults, what a service manager "
    "gives, this file, the environment, the environment file, arguments of the constructor, options of the command "
    "line. Times are seconds or have a unit (250ms, 1.5s, 2m, 1h), sizes are bytes or have one (16MiB). A wrong or "
    "unknown setting ends the command with the exit code 78. `arbd config` prints every value with where it came from."
)


def pages(version: str) -> dict[str, str]:
    """Every page by its file name."""
    context = click.Context(cli, info_name="arbd", **cli.context_settings)
    found = {"arbd.1": _main_page(context, version), f"{CONFIG_FILE}.5": _settings_page(version)}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        for each in (inner, *_below(inner)):
            found[f"{_page_name(each)}.1"] = _command_page(each, version)
    return found


def _below(context: click.Context) -> list[click.Context]:
    """The commands of a command that has some of its own."""
    commands = context.command.commands if isinstance(context.command, click.Group) else {}
    return [click.Context(each, info_name=name, parent=context) for name, each in commands.items()]


def _page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _related(context: click.Context) -> list[str]:
    """The pages of a command's neighbours: those of its heading and those below it, or the one it is below."""
    parent = context.parent
    if parent is not None and parent.parent is not None:
        return [_page_name(parent)]
    names = next(names for names in GROUPS.values() if context.info_name in names)
    return [*map(_page_name, _below(context)), *(f"arbd-{name}" for name in names if name != context.info_name)]


def _main_page(context: click.Context, version: str) -> str:
    return "".join(
        (
            *_head("arbd", 1, version, "a multiprocess provider daemon", context),
            *_described(context.command, ()),
            *_options(context),
            *_commands(context),
            *_sections(context.command.epilog or ""),
            *_see_also([f"arbd-{name}(1)" for name in COMMANDS] + [f"{CONFIG_FILE}(5)"]),
        )
    )


def _command_page(context: click.Context, version: str) -> str:
    command = context.command
    others = [f"{page}(1)" for page in _related(context)]
    settings = [f"{CONFIG_FILE}(5)"] if any("--config" in param.opts for param in command.params) else []
    sections = list(_sections(command.epilog or ""))
    return "".join(
        (
            *_head(_page_name(context), 1, version, command.get_short_help_str(200).rstrip("."), context),
            *_described(command, [text for heading, text in _paragraphs(command.epilog or "") if not heading]),
            *_options(context),
            *sections,
            *_see_also(["arbd(1)", *others, *settings]),
        )
    )


def _settings_page(version: str) -> str:
    parts = [*_head(CONFIG_FILE, 5, version, "the settings of a provider daemon", None), ".SH DESCRIPTION\n"]
    parts += [_filled(_SETTINGS_INTRODUCTION), ".SH SETTINGS\n"]
    parts += [_tagged(_bold(setting.name), _setting_text(setting)) for setting in TABLE]
    return "".join([*parts, *_see_also(["arbd(1)", "arbd-config(1)", "arbd-run(1)"])])


def _setting_text(setting: Setting) -> str:
    option = f", option {setting.flag}" if setting.flag else ""
    reload = "A reload puts it in force." if setting.reloadable else "It needs a restart."
    default = "" if setting.default in ("", None) else f" Default: {value(setting, setting.default)}."
    return f"{setting.doc}{default} Allowed: {setting.kind.expects}. Variable {setting.variable}{option}. {reload}"


# -- sections --------------------------------------------------------------------------------------------------------


def _head(name: str, number: int, version: str, what: str, context: click.Context | None) -> Iterator[str]:
    yield f'.\\" Made of the help of arbd {version}: make man.\n'
    yield f'.TH {_quoted(name.upper())} {number} "" {_quoted(f"arbd {version}")} "Manual of arbd"\n'
    yield f".SH NAME\n{_plain(name)} \\- {_plain(what)}\n"
    if context is not None:
        usage = " ".join(context.command.collect_usage_pieces(context))
        yield f".SH SYNOPSIS\n{_bold(context.command_path)} {_plain(usage)}\n"


def _described(command: click.Command, more: Iterable[str]) -> Iterator[str]:
    yield ".SH DESCRIPTION\n"
    for number, text in enumerate([*(text for _, text in _paragraphs(command.help or "")), *more]):
        yield (".PP\n" if number else "") + _filled(text)


def _options(context: click.Context) -> Iterator[str]:
    options = [param for param in context.command.get_params(context) if isinstance(param, click.Option)]
    records = [_record(option, context) for option in options]
    shown = [record for record in records if record is not None]
    if shown:
        yield ".SH OPTIONS\n"
        for names, text in shown:
            yield _tagged(_bold(names), text)


def _record(option: click.Option, context: click.Context) -> tuple[str, str] | None:
    """What the help says of an option; a page has those, too, that only ``--help-all`` shows."""
    if not isinstance(option, RareOption):
        return option.get_help_record(context)
    was, option.hidden = option.hidden, False
    try:
        return option.get_help_record(context)
    finally:
        option.hidden = was


def _commands(context: click.Context) -> Iterator[str]:
    yield ".SH COMMANDS\n"
    for heading, names in GROUPS.items():
        yield f".SS {_plain(heading)}\n"
        for name in names:
            command = cli.get_command(context, name)
            assert command is not None
            yield _tagged(f"{_bold(f'arbd-{name}')}(1)", command.get_short_help_str(200))


def _sections(epilog: str) -> Iterator[str]:
    """Examples, and what the exit codes mean."""
    for heading, text in _paragraphs(epilog):
        if heading == "EXIT STATUS":
            yield f".SH {heading}\n{_filled(text)}"
        elif heading:
            yield f".SH {heading}\n{_verbatim(text)}"


def _see_also(names: list[str]) -> Iterator[str]:
    yield ".SH SEE ALSO\n"
    yield ",\n".join(f"{_bold(page)}({number})" for page, number in (name[:-1].split("(") for name in names)) + "\n"


def _paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """The paragraphs of a help text, each with the heading of the section that it is, if it is one of its own."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith(_VERBATIM):
            title, _, rest = paragraph.removeprefix(_VERBATIM).partition("\n")
            yield title.strip().rstrip(":").upper(), rest
        elif _EXIT.search(paragraph):
            yield from _exit_codes(paragraph)
        elif paragraph.strip():
            yield "", paragraph


def _exit_codes(paragraph: str) -> Iterator[tuple[str, str]]:
    """A paragraph that ends with the exit codes, taken apart."""
    sentences = re.split(r"(?<=[.:])\s+(?=[A-Z])", " ".join(paragraph.split()))
    first = next(number for number, sentence in enumerate(sentences) if _EXIT.search(sentence))
    if first:
        yield "", " ".join(sentences[:first])
    yield "EXIT STATUS", " ".join(sentences[first:])


# -- roff ------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Text with nothing in it that roff would take for an escape."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def _quoted(text: str) -> str:
    return '"' + _plain(text).replace('"', "\\(dq") + '"'


def _bold(text: str) -> str:
    return f"\\fB{_plain(text)}\\fR"


def _filled(text: str) -> str:
    """A paragraph whose lines are filled; `code` in bold."""
    parts = _CODE.split(" ".join(text.split()))
    text = "".join(_bold(part) if number % 2 else _plain(part) for number, part in enumerate(parts))
    lines = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{_guarded(line)}\n" for line in lines)


def _verbatim(text: str) -> str:
    lines = [_plain(line.removeprefix("  ")) for line in text.splitlines()]
    return ".nf\n" + "".join(f"{_guarded(line)}\n" for line in lines) + ".fi\n"


def _guarded(line: str) -> str:
    """A line that is no request, whatever it begins with."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _tagged(tag: str, text: str) -> str:
    return f".TP\n{tag}\n{_filled(text)}"


def main(directory: Path, version: str) -> None:
    """Write every page into this directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages(version).items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    from arbd.tuning.machine import version_of

    main(Path(sys.argv[1]), version_of("arbd"))
