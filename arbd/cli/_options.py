"""The options and steps that commands share: settings as flags, TARGET, and what they resolve to."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from click.shell_completion import CompletionItem

from arbd.cli import _completers
from arbd.cli._help import RareOption, help_all_option
from arbd.model.description import Description
from arbd.settings.files import read_layers, read_secrets, read_sources, read_token
from arbd.settings.kinds import Kind, size
from arbd.settings.secrets import hub_tokens, own_settings, scrub
from arbd.settings.table import CONFIG_FILE, TABLE, Resolved, from_constructor, from_flags, resolve

if TYPE_CHECKING:
    from arbd.cli._completers import Completer, Item

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic for type checkers only, until click 8.3

FLAGGED: Final = tuple(setting for setting in TABLE if setting.flag)
_FLAGGED_NAMES: Final = tuple(setting.name for setting in FLAGGED)
LOCAL_HUB: Final = "127.0.0.1:50051"  # where `arbd hub` listens and `arbd submit` calls, unless told otherwise
SECONDS: Final = "In seconds, or with a unit: 250ms, 1.5s, 2m, 1h."
TOML: Final = _completers.files(".toml")
_METAVARS: Final = {"env_file": "FILE", "hub.url": "HOST:PORT", "workers": "N|auto", "execution_timeout": "SECONDS"}


def _die_with(ctx: click.Context, _param: click.Parameter, parent: int | None) -> None:
    if parent is not None and not ctx.resilient_parsing:
        from arbd.host.procs import die_with_parent

        die_with_parent(parent)


parent_option: Final = click.option(
    "--parent",
    type=int,
    hidden=True,
    expose_value=False,
    callback=_die_with,
    help="End when this process ends.",
)


class CommandSettings(msgspec.Struct, frozen=True):
    """What the command line said about settings: values by setting name, and ``--config``."""

    flags: dict[str, Any]
    config_file: str | None

    def resolve(self, description: Description | None = None) -> Resolved:
        """The effective settings; ``description`` brings what the author wrote into the constructor.

        Raises ``ConfigError`` with every problem.
        """
        layers = read_layers(self.config_file, os.environ, self.flags.get("env_file"))
        flags = from_flags(self.flags)
        given = own_settings(description.given, self._secrets(), hub_tokens(self.environ())) if description else {}
        return read_token(resolve([*layers, from_constructor(given), flags], required=["name"] if description else []))

    def _secrets(self) -> list[str]:
        """What the provider's code must not see: every token there is before it has spoken."""
        layers = read_layers(self.config_file, os.environ, self.flags.get("env_file"))
        return read_secrets([*layers, from_flags(self.flags)]).texts

    def environ(self) -> dict[str, str]:
        """This environment, with the variables of the environment file."""
        return read_sources(self.config_file, os.environ, self.flags.get("env_file")).environ

    def environ_of_code(self) -> dict[str, str]:
        """The environment that the provider's code is to have: without tokens."""
        return scrub(self.environ(), self._secrets())

    def target(self, target: str | None) -> str:
        """TARGET of the command line or, without one, of the settings; empty if neither has it."""
        return target or self.resolve().settings.target

    def required_target(self, target: str | None) -> str:
        """TARGET of the command line or of the settings. Raises ``click.UsageError`` if neither has it."""
        found = self.target(target)
        if not found:
            raise click.UsageError(f"Missing argument 'TARGET' (or set `target` in {CONFIG_FILE}).")
        return found


class KindType(_ParamType):
    """A kind of setting as the type of an option that is no setting."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._kind.parse(value)
        except ValueError:
            self.fail(f"{value!r}; allowed: {self._kind.expects}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Item]:
        return [CompletionItem(word) for word in self._kind.words if word.startswith(incomplete)]


class ListenType(_ParamType):
    """The address that a hub is to listen on."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from arbd.hub.listen import parse_listen

        try:
            parse_listen(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return str(value)


_LONGEST_PATH: Final = 4096
_MESSAGE_ROOM: Final = 64 * 1024  # for ids, names, and what protobuf adds
_MOST_MESSAGE: Final = (1 << 31) - 1  # of gRPC


def room_for(max_payload: int, max_result: int) -> int:
    """The largest message, in bytes, of a hub whose providers take such payloads, and accounts of that size too."""
    return min(max(2 * max_payload, max_result) + _MESSAGE_ROOM, _MOST_MESSAGE)


_DEFAULTS: Final = {setting.name: setting.default for setting in TABLE}
max_message_option: Final = click.option(
    "--max-message",
    metavar="SIZE",
    type=KindType("size", size(64 * 1024, _MOST_MESSAGE)),
    default=room_for(_DEFAULTS["max_payload"], _DEFAULTS["max_result"]),
    show_default="twice max_payload's",
    help="The largest message it takes: payload and account of a task, or a result.",
)


def settings_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--config`` and a flag for every setting that has one; it receives them as ``given``.

    The values stay as they were written: the settings table judges them, together with all other layers.
    """
    return _with_settings(function, _FLAGGED_NAMES)


def settings_options_showing(
    *shown: str, refused: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same for a command to which only these settings matter: it takes the others too, and ``--help-all`` shows
    them, but those that are ``refused``: the command says why."""
    return lambda function: help_all_option(_with_settings(function, shown, refused))


def _with_settings(
    function: Callable[..., None], shown: Collection[str], refused: Collection[str] = ()
) -> Callable[..., None]:
    @functools.wraps(function)
    def command(*, config_file: str | None, **params: Any) -> None:
        flags = {setting.name: params.pop(setting.attribute) for setting in FLAGGED}
        function(
            given=CommandSettings({name: raw for name, raw in flags.items() if raw is not None}, config_file), **params
        )

    help_text = f"Settings file.  [default: {CONFIG_FILE} here, if there is one]"
    decorated = click.option("--config", "config_file", metavar="FILE", help=help_text, shell_complete=TOML)(command)
    for setting in reversed(FLAGGED):
        default = "" if setting.default in ("", None) else f"  [default: {_written(setting.default)}]"
        is_rare = setting.name not in shown
        decorated = click.option(
            setting.flag,
            setting.attribute,
            cls=RareOption if is_rare and setting.name not in refused else click.Option,
            hidden=is_rare,
            default=None,
            metavar=_METAVARS.get(setting.name, None if isinstance(setting.default, bool) else _metavar(setting.kind)),
            help=f"{setting.doc}{_units(setting.kind)}{default}",
            shell_complete=_completer(setting.kind),
        )(decorated)
    return decorated


def json_text(option: str, text: str) -> bytes:
    """JSON from the command line or from ``@file``, checked: a typo is found here, not in a worker's answer."""
    if text == "@":
        raise click.BadParameter("@ stands right before the name of a file", param_hint=option)
    try:
        data = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode(errors="surrogateescape")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path of a file"
        raise click.BadParameter(f"{text[1:]}: {reason}", param_hint=option) from error
    return checked_json(option, data)


def checked_json(option: str, data: bytes, which: str = "") -> bytes:
    """These bytes, if they are JSON. Raises ``click.BadParameter``; ``which``: the line that they are, and "is"."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.BadParameter(f"{which}not JSON: {error}{_slip(data)}", param_hint=option) from error
    return data


def _slip(data: bytes) -> str:
    """A remark on what people often do instead of writing JSON."""
    from arbd.cli import _suggest

    text = os.fsdecode(data)
    with contextlib.suppress(OSError, ValueError):
        if text and len(data) < _LONGEST_PATH and Path(text).is_file():
            return "; there is a file of that name: write @ before it"
    found = _suggest.json_slip(text)
    return f"; {found}" if found else ""


def _completer(kind: Kind) -> Completer:
    return _completers.files() if kind.is_path else _completers.words(kind.words)


def _units(kind: Kind) -> str:
    return f" {SECONDS}" if kind.unit == "s" else ""


def _metavar(kind: Kind) -> str:
    """``auto|json|console`` for a choice."""
    return "|".join(kind.words) if kind.words else "TEXT"


def _written(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)
