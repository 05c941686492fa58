"""The options and formats of commands that ask a running daemon."""

from __future__ import annotations

import functools
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from arbd.cli import _completers
from arbd.settings.files import read_layers
from arbd.settings.table import CONFIG_FILE, resolve

if TYPE_CHECKING:
    from arbd.control.reports import NotableEvent

INTERVAL_S: Final = 1.0  # between two looks of `--watch`


def daemon_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``[DAEMON]``, ``--config`` and ``--json``; it receives the socket as ``path``, and ``as_json``."""
    return _asking(function, click.argument("daemon", required=False, shell_complete=_completers.daemons))


def daemon_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command that has an argument of its own ``--daemon``, ``--config`` and ``--json``; it receives the socket
    as ``path``, and ``as_json``."""
    text = "Name of the daemon's provider, or the path of its control socket.  [default: the one that runs here]"
    option = click.option("--daemon", metavar="DAEMON", help=text, shell_complete=_completers.daemons)
    return _asking(function, option)


def daemon_finder(function: Callable[..., None]) -> Callable[..., None]:
    """As ``daemon_options``, for a command that has more to do where there is no daemon: instead of the socket it
    receives ``find``, which returns it, or raises ``ControlError``."""
    return _finding(function, click.argument("daemon", required=False, shell_complete=_completers.daemons))


def _asking(function: Callable[..., None], which: Callable[[Callable[..., None]], Any]) -> Callable[..., None]:
    @functools.wraps(function)
    def command(*, find: Callable[[], Path], **params: Any) -> None:
        function(path=find(), **params)

    return _finding(command, which)


def _finding(function: Callable[..., None], which: Callable[[Callable[..., None]], Any]) -> Callable[..., None]:
    @functools.wraps(function)
    def command(*, daemon: str | None, config_file: str | None, **params: Any) -> None:
        from arbd.control import client

        settings = resolve(read_layers(config_file, os.environ)).settings
        function(find=lambda: client.find(daemon, settings), **params)

    help_text = f"Settings file of the daemon, if that says where its socket is.  [default: {CONFIG_FILE} here]"
    decorated = click.option(
        "--config", "config_file", metavar="FILE", help=help_text, shell_complete=_completers.files(".toml")
    )(command)
    decorated = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(decorated)
    asking: Callable[..., None] = which(decorated)
    return asking


def watch(show: Callable[[], None]) -> None:
    """Show every second, until Ctrl-C."""
    gc.enable()  # it stays
    try:
        while True:
            show()
            time.sleep(INTERVAL_S)
    except KeyboardInterrupt:
        pass


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as ``3 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def short_duration(seconds: float) -> str:
    """A length of time from microseconds on, such as ``31 µs``, ``4.2 ms`` and ``250 ms``."""
    if seconds >= 1:
        return duration(seconds)
    if seconds >= 0.001:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds * 1e6:.0f} µs"


def fields_of(event: NotableEvent) -> str:
    """What an event tells beside its name, in one line: texts as they are, and the rest as JSON."""
    import msgspec

    from arbd.core.history import shown

    def text(value: Any) -> str:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    return " ".join(f"{shown(name)}={shown(text(value))}" for name, value in event.fields.items())


def share(part: float, whole: float) -> str:
    """A part of a whole in percent."""
    return f"{min(1.0, part / whole):.0%}" if whole > 0 else "-"


def count(number: int, noun: str) -> str:
    """A number with its noun, such as ``1 result`` and ``2 results``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
