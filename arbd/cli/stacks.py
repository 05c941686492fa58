"""``arbd stacks``: where every process of a running daemon is, also one that hangs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _completers, _show
from arbd.cli._daemon import daemon_options, duration

if TYPE_CHECKING:
    from arbd.control.reports import ProcessStacks

_PAUSE_S: Final = 0.1


@click.command(
    "stacks",
    short_help="Where each process of a running daemon is: its Python stacks.",
    epilog="""\b
Examples:
  arbd stacks                    of the daemon that runs here, all processes
  arbd stacks prices --worker 3  only the worker in slot 3
  arbd stacks --native           with the frames of C code, by py-spy (pip install 'arbd[stacks]')
  arbd stacks --json | jq -r '.stacks[] | select(.trouble) | "\\(.pid) \\(.trouble)"'

It needs nothing of the process that it looks at: one that sleeps, loops, or hangs in C answers as well.

The exit code is 0 if the daemon answers, also if one of its processes does not, 1 if there is none, no such worker, or
no py-spy for --native.""",
)
@click.option(
    "--worker",
    "slot",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only the worker in this slot.",
    shell_complete=_completers.workers,
)
@click.option("--native", is_flag=True, help="With native frames; each worker stands still for a moment.")
@daemon_options
def command(path: Path, as_json: bool, slot: int | None, native: bool) -> None:
    """Ask a running daemon where its supervisor, zygote and workers are: file, line and function of every thread.

    Stacks hold no values. DAEMON is the name of its provider or the path of its control socket; it may be left out if
    only one is running.
    """
    found = _native(path, slot) if native else _python(path, slot)
    if as_json:
        _show.json_document({"stacks": found})
    else:
        click.echo("\n\n".join(map(_shown, found)))


def _python(path: Path, slot: int | None) -> list[ProcessStacks]:
    from arbd.control.client import ask
    from arbd.control.protocol import GetStacks, StacksReply

    return ask(path, GetStacks(worker=slot), StacksReply).stacks


def _native(path: Path, slot: int | None) -> list[ProcessStacks]:
    import msgspec

    from arbd.cli._progress import ProgressLine
    from arbd.control.client import ask
    from arbd.control.protocol import GetOperation, GetStacks, OperationReply
    from arbd.control.reports import ProcessStacks
    from arbd.errors import ControlError

    operation = ask(path, GetStacks(worker=slot, native=True), OperationReply).operation
    with ProgressLine(operation.total, operation.text) as line:
        while operation.state == "running":
            time.sleep(_PAUSE_S)
            operation = ask(path, GetOperation(id=operation.id), OperationReply).operation
            line.set(operation.done, operation.total, operation.text)
    if operation.state == "failed":
        raise ControlError(operation.text)
    return msgspec.convert(operation.data, list[ProcessStacks])


def _shown(each: ProcessStacks) -> str:
    from arbd.logs.stack_lines import folded

    name = each.role if each.worker is None else f"worker {each.worker}"
    running = f", runs {each.task.action} ({each.task.id}) for {duration(each.task.elapsed_s)}" if each.task else ""
    head = click.style(f"== {name} (pid {each.pid}{running})", bold=True)
    return "\n".join(filter(None, [head, f"-- {each.trouble}" if each.trouble else "", folded(each.text)]))
