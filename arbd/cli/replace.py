"""``arbd replace``: new processes for the workers of a running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arbd.cli import _completers
from arbd.cli._daemon import daemon_options
from arbd.cli._follow import follow
from arbd.cli._help import ExamplesFirst


class _WorkerFirst(ExamplesFirst):
    """A command whose first argument is a worker's number, and may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:
            return rest  # of a line that is being completed no word is wrong yet
        params: dict[str, Any] = ctx.params
        worker, daemon = params["worker"], params["daemon"]
        if worker is not None and not worker.isdecimal():
            if daemon is not None:
                raise click.UsageError(f"WORKER is a number, as arbd status shows it, not {worker!r}", ctx)
            worker, params["daemon"] = None, worker
        params["worker"] = None if worker is None else int(worker)
        return rest


@click.command(
    "replace",
    cls=_WorkerFirst,
    short_help="Replace workers by new processes, one at a time.",
    epilog="""\b
Examples:
  arbd replace                   every worker of the daemon that runs here, one after the other
  arbd replace 3                 worker 3
  arbd replace 3 prices          worker 3 of provider prices; arbd replace prices: all of its workers
  arbd replace --no-wait         do not wait until it is done

The exit code is 0 when all that were meant are replaced, 1 if not: the answer says why.""",
)
@click.argument("worker", required=False, shell_complete=_completers.workers_or_daemons)
@click.option("--no-wait", is_flag=True, help="Return as soon as the daemon has begun.")
@daemon_options
def command(path: Path, as_json: bool, worker: int | None, no_wait: bool) -> None:
    """Replace the process of WORKER (a number, as arbd status shows it), or of all workers, by a new one of the same
    code.

    The new one is ready before the old one stops taking tasks; the old one finishes what it has: no task is lost. To
    load changed code, use arbd reload. DAEMON is the name of a provider or the path of a control socket; it may be left
    out if only one is running.
    """
    from arbd.control.client import ask
    from arbd.control.protocol import OperationReply, Replace

    follow(path, ask(path, Replace(worker=worker), OperationReply).operation, as_json, wait=not no_wait)
