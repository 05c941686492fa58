"""``arbd demo``: value at risk over real exchange rates. Its work is in ``arbd.examples.demo``."""

from __future__ import annotations

import click

from arbd.cli._options import KindType
from arbd.settings.kinds import auto_or, whole


@click.command(
    "demo",
    short_help="See it work: value at risk over real exchange rates.",
    epilog="""\b
Examples:
  arbd demo
  arbd demo --tasks 1000 --workers 2
  arbd demo --json | jq .tasks_per_s

It needs the extra `examples`: pip install 'arbd[examples]'. It takes about half a minute, and leaves nothing behind.

Exit codes: 0 good, 1 a task or the daemon failed, 130 interrupted by Ctrl-C.""",
)
@click.option(
    "--tasks",
    type=click.IntRange(1, 100_000),
    default=300,
    show_default=True,
    help="How many tasks, two for each portfolio.",
)
@click.option(
    "--workers",
    metavar="N|auto",
    type=KindType("N|auto", auto_or(whole(1, 1024))),
    default="auto",
    show_default=True,
    help="How many worker processes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, tasks: int, workers: int | str, as_json: bool) -> None:
    """Value at risk of currency portfolios over the ECB's rates since 1999: hub, daemon and a few hundred tasks."""
    from arbd.examples.demo import main

    ctx.exit(main(tasks=tasks, workers=str(workers), json=as_json))
