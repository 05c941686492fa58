"""``arbd stacks``: where every process of a running daemon is, also one that hangs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arbd.cli import _completers, _show
from arbd.cli._daemon import daemon_options, duration
from arbd.cli._follow import follow, to_its_end

if TYPE_CHECKING:
    from arbd.control.reports import Operation, ProcessStacks


@click.command(
    "stacks",
    short_help="Where each process of a running daemon is: its Python stacks.",
    epilog="""\b
Examples:
  arbd stacks                    of the daemon that runs here, all processes
  arbd stacks prices --worker 3  only the worker in slot 3
  arbd stacks --native           with the frames of C code, by py-spy (pip install 'arbd[stacks]')
  arbd stacks --native --no-wait  begin that only; it says how to see them later
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
@click.option("--no-wait", is_flag=True, help="With --native: return as soon as the daemon has begun.")
@click.option(
    "--begun",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Show those that --native --no-wait has begun, when they are there.",
)
@daemon_options
def command(path: Path, as_json: bool, slot: int | None, native: bool, no_wait: bool, begun: int | None) -> None:
    """Ask a running daemon where its supervisor, zygote and workers are: file, line and function of every thread.

    Stacks hold no values. DAEMON is the name of its provider or the path of its control socket; it may be left out if
    only one is running.
    """
    if no_wait and not native:
        raise click.UsageError("--no-wait is for --native; Python stacks are there at once")
    if begun is not None and (native or slot is not None):
        raise click.UsageError("--begun NUMBER asks for what was begun: without --native, --no-wait and --worker")
    if not native and begun is None:
        _show_all(_python(path, slot), as_json)
        return
    operation = _operation(path, begun) if begun is not None else _begin(path, slot)
    if no_wait:
        import msgspec

        later = f"arbd stacks{_which()} --begun {operation.id} shows them"
        operation = msgspec.structs.replace(operation, text=later)
        follow(path, operation, as_json, wait=False)
    else:
        _show_all(_native(path, operation), as_json)


def _which() -> str:
    """The words of this command line that say which daemon is asked."""
    import shlex

    given = click.get_current_context().params
    daemon = [given["daemon"]] if given["daemon"] else []
    config = ["--config", given["config_file"]] if given["config_file"] else []
    return "".join(f" {shlex.quote(word)}" for word in (*daemon, *config))


def _show_all(found: list[ProcessStacks], as_json: bool) -> None:
    if as_json:
        _show.json_document({"stacks": found})
    else:
        for number, each in enumerate(found):
            _show.say(*([""] if number else []), *_lines(each))


def _python(path: Path, slot: int | None) -> list[ProcessStacks]:
    from arbd.control.client import ask
    from arbd.control.protocol import GetStacks, StacksReply

    return ask(path, GetStacks(worker=slot), StacksReply).stacks


def _begin(path: Path, slot: int | None) -> Operation:
    from arbd.control.client import ask
    from arbd.control.protocol import GetStacks, OperationReply

    return ask(path, GetStacks(worker=slot, native=True), OperationReply).operation


def _operation(path: Path, number: int) -> Operation:
    from arbd.control.client import ask
    from arbd.control.protocol import GetOperation, OperationReply
    from arbd.errors import ControlError

    operation = ask(path, GetOperation(id=number), OperationReply).operation
    if not operation.kind.startswith("stacks"):
        raise ControlError(f"what has the number {number} is no stacks but: {operation.kind}")
    return operation


def _native(path: Path, operation: Operation) -> list[ProcessStacks]:
    import msgspec

    from arbd.control.reports import ProcessStacks
    from arbd.errors import ControlError

    operation = to_its_end(path, operation)
    if operation.state == "failed":
        raise ControlError(operation.text)
    return msgspec.convert(operation.data, list[ProcessStacks])


def _lines(each: ProcessStacks) -> Iterator[str | Sequence[str]]:
    from arbd.logs.stack_lines import folded

    name = each.role if each.worker is None else f"worker {each.worker}"
    running = f", runs {each.task.action} ({each.task.id}) for {duration(each.task.elapsed_s)}" if each.task else ""
    yield (_show.styled(f"== {name} (pid {each.pid}{running})", bold=True),)
    if each.trouble:
        yield f"-- {each.trouble}"
    if text := folded(each.text):
        yield from (f"  {line}" for line in text.split("\n"))  # a process writes there what it likes
