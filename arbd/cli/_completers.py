"""What the values of arguments and options may be, for completion: files, daemons that run, and what those have.

Each takes what click gives: the context of the words before, the parameter, and the beginning of the value. They may
raise whatever they like: ``arbd.cli._complete`` is who catches it. A daemon is asked for half a second at most, because
somebody waits at a prompt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from arbd.control.reports import StatusReport
    from arbd.settings.table import Settings

    Item = CompletionItem[Any]
    Completer = Callable[[click.Context, click.Parameter, str], list[Item]]

_ASK_TIMEOUT_S: Final = 0.5


def files(ending: str = "") -> Completer:
    """Files whose name ends so, and the directories on the way."""

    def complete(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
        return [CompletionItem(begun, type="file", ending=ending)]

    return complete


def words(known: Iterable[str]) -> Completer:
    """A few words."""
    found = tuple(known)

    def complete(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
        return [CompletionItem(word) for word in found if word.startswith(begun)]

    return complete


def json_file(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
    """``@FILE``; JSON itself is not completed."""
    return [CompletionItem(begun[1:], type="file", front="@")] if begun.startswith("@") else []


def target(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
    """TARGET, as long as it is a file: what is in it is not looked at, because that would run it."""
    return [] if ":" in begun else [CompletionItem(begun, type="file", ending=".py")]


def daemons(ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
    """The daemons that run here, by the names that tell them apart; a path is that of a socket."""
    if begun.startswith(("/", ".")):
        return [CompletionItem(begun, type="file", ending=".sock")]
    from arbd.control.client import running

    return [CompletionItem(name) for name in running(_settings(ctx)) if name.startswith(begun)]


def running_tasks(ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
    """The ids of the tasks that run, each with its action."""
    tasks = [worker.running for worker in _status(ctx).workers if worker.running is not None]
    return [CompletionItem(task.id, help=task.action) for task in tasks if task.id.startswith(begun)]


def workers(ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
    """The numbers of the workers."""
    numbers = [str(worker.slot) for worker in _status(ctx).workers]
    return [CompletionItem(number) for number in numbers if number.startswith(begun)]


def workers_or_daemons(ctx: click.Context, param: click.Parameter, begun: str) -> list[Item]:
    """The numbers of the workers of the one daemon, if there is one, and the names of all."""
    found = daemons(ctx, param, begun)
    return [*(workers(ctx, param, begun) if len(daemons(ctx, param, "")) == 1 else []), *found]


def paused_actions(ctx: click.Context, _param: click.Parameter, begun: str) -> list[Item]:
    """The actions that are paused."""
    return [CompletionItem(each.action) for each in _status(ctx).paused if each.action.startswith(begun)]


def _status(ctx: click.Context) -> StatusReport:
    """The state of the daemon that the words before mean."""
    from arbd.control.client import ask, find
    from arbd.control.protocol import GetStatus, StatusReply

    path = find(ctx.params.get("daemon"), _settings(ctx))
    return ask(path, GetStatus(), StatusReply, _ASK_TIMEOUT_S).report


def _settings(ctx: click.Context) -> Settings:
    from arbd.settings.files import read_layers
    from arbd.settings.table import resolve

    return resolve(read_layers(ctx.params.get("config_file"), os.environ)).settings
