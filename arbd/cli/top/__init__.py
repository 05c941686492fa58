"""``arbd top``: a running daemon live, on a full screen, with keys that steer it.

session ── keys ─────> control: what keys and answers do ──> view: lines <── sightings, rates
   ├── screen, signals: the terminal, put back in every case
   └── asking: looks and commands beside it, so that a daemon that hangs holds up no key
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arbd.cli import _show
from arbd.cli._daemon import daemon_options

if TYPE_CHECKING:
    from arbd.cli.top.sightings import Sighting


@click.command(
    "top",
    short_help="Watch a running daemon live, and steer it by keys.",
    epilog="""\b
Examples:
  arbd top                       the daemon that runs here
  arbd top prices                the one of provider prices; prices@2 if there is a second one
  arbd top --once                one frame, also where there is no terminal
  arbd top --json | jq '.rates.actions.order.success'

\b
Keys:
  arrows, j, Tab     select a worker or an action
  p d r k s          pause, drain, replace, kill the task, stacks; ? tells more, q quits

The exit code is 0 when it was quit, 1 if there is no daemon, or no terminal.""",
)
@click.option("--once", is_flag=True, help="Print one frame and end; rates are means since the start.")
@daemon_options
def command(path: Path, as_json: bool, once: bool) -> None:
    """Watch a running daemon: hub, CPUs, limits, workers and what they run, actions with their rates, the last events.

    It is looked at once a second. Keys select a worker or an action and pause, drain, replace or kill; each asks before
    it does harm. DAEMON is the name of a provider or the path of a control socket; it may be left out if only one is
    running. With --json: one frame as JSON.
    """
    from arbd.cli.top.asking import Looker

    if not (once or as_json):
        _require_terminal()
    look = Looker(path).look()
    if as_json:
        _show.json_document(_document(look))
    elif once:
        _print(look)
    else:
        from arbd.cli.top.session import run

        run(path, look)


def _require_terminal() -> None:
    """Raise ``ControlError`` where nobody could see it, or type."""
    from arbd.errors import ControlError

    missing = next((name for name, stream in (("output", sys.stdout), ("input", sys.stdin)) if not stream.isatty()), "")
    if missing:
        raise ControlError(f"standard {missing} is no terminal; `arbd top --once` prints one frame anywhere")
    if os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        raise ControlError(
            "this terminal (TERM=dumb, or not set) has no full screen; `arbd top --once` prints one frame, "
            "`arbd status --watch` one after the other"
        )


def _document(look: Sighting) -> dict[str, object]:
    from arbd.cli.top.rates import rates

    found = rates(None, look.status)
    workers = [
        {"slot": worker.slot, "tasks": each.tasks, "busy": each.busy, "cpu": each.cpu}
        for worker, each in zip(look.status.workers, found.workers, strict=True)
    ]
    per_second = {"span_s": found.span_s, "taken": found.taken, "accepted": found.accepted}
    shown = {**per_second, "verdicts": found.verdicts, "workers": workers, "actions": found.actions}
    return {"status": look.status, "rates": shown, "limits": look.limits, "events": look.events}


def _print(look: Sighting) -> None:
    from arbd.cli.top.control import Control
    from arbd.cli.top.view import clean, everything

    control = Control()
    control.looked(look)
    console = _show.console()
    for line in everything(control, time.monotonic(), console.width):
        console.print(clean(line), no_wrap=True, overflow="crop", soft_wrap=True)
