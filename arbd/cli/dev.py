"""``arbd dev``: an embedded hub and the daemon in one command, with new workers on every change of the source.

    arbd dev (supervisor, dev=True) ── starts ──> arbd hub (child) <── arbd submit, from another terminal
              └────────────── takes tasks from ──────┘

The hub is a process of its own, so that a task in it outlives a daemon that is restarted by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from arbd.cli._options import LOCAL_HUB, CommandSettings, settings_options
from arbd.cli.hub import READY
from arbd.errors import HubError

_STOP_TIMEOUT_S: Final = 5.0


@click.command(
    "dev",
    short_help="Your provider with a hub of its own, reloading.",
    epilog="""\b
Examples:
  arbd dev my_provider.py
  arbd submit echo --payload '{"text": "hello"}' --wait     in another terminal""",
)
@click.argument("target", required=False)
@click.argument("argv", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--listen", metavar="HOST:PORT", default=LOCAL_HUB, show_default=True, help="Where its hub listens.")
@settings_options
@click.pass_context
def command(ctx: click.Context, target: str | None, argv: tuple[str, ...], listen: str, given: CommandSettings) -> None:
    """Run TARGET against a hub of its own, and restart its workers when its source changes."""
    if "hub.url" in given.flags:
        raise click.UsageError("arbd dev has a hub of its own: choose its address by --listen, or use arbd run --hub.")
    found = given.required_target(target)
    from arbd.supervisor.main import run
    from arbd.supervisor.request import RunRequest

    with _hub(listen) as address:
        click.echo(f"arbd dev: the hub listens on {address}; try: arbd submit ACTION --hub {address} --wait", err=True)
        flags = given.flags | {"hub.url": address}
        request = RunRequest(target=found, argv=list(argv), flags=flags, config_file=given.config_file, dev=True)
        code = run(request)
    ctx.exit(code)


@contextmanager
def _hub(listen: str) -> Iterator[str]:
    """A hub in a child process; its address. It ends with this block, and with this process if that is killed."""
    from arbd import logs

    process = subprocess.Popen(
        [sys.executable, "-m", "arbd", "hub", "--listen", listen, "--parent", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=logs.stderr_for_children(),
        text=True,
        start_new_session=True,  # Ctrl-C is for the supervisor alone: it still has results to send to this hub
    )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline().strip()
        if not ready.startswith(READY):
            raise HubError("UNAVAILABLE", f"the hub of arbd dev did not start on {listen}")
        yield ready.removeprefix(READY)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
