"""The line about a daemon that a person reads in ``systemctl status``: what it does, in one sentence.

Pure: figures in, text out.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Phase = Literal["importing", "starting", "waiting", "serving", "reloading", "draining", "stopped"]

_HUB: Final = {
    "up": "hub connected",
    "down": "hub not reached, trying again",
    "refused": "hub refuses the token",
    "connecting": "hub not reached yet",
}


class StatusFigures(NamedTuple):
    """What a status line may tell. ``ready``: slots that have served; ``slots``: all there are; ``busy`` of the
    ``workers`` that serve have a task; ``tasks`` have no verdict yet, ``results`` wait for the hub."""

    tasks_per_s: float = 0.0
    busy: int = 0
    workers: int = 0
    ready: int = 0
    slots: int = 0
    tasks: int = 0
    results: int = 0
    hub: str = "connecting"
    protocol: str = ""
    reload_failed: bool = False


def status_line(phase: Phase, figures: StatusFigures) -> str:
    """The line for this phase."""
    if phase == "importing":
        return "starting: importing the provider"
    if phase == "starting":
        return f"starting: {figures.ready} of {figures.slots} workers have been ready"
    if phase == "waiting":
        return f"waiting for the hub: {_hub(figures)}"
    if phase == "draining":
        return _draining(figures)
    if phase == "stopped":
        return "stopped"
    line = f"{phase}: {_serving(figures)}"
    return f"{line}; the last reload failed, see the log" if figures.reload_failed and phase == "serving" else line


def _serving(figures: StatusFigures) -> str:
    rate = "1 task/s" if round(figures.tasks_per_s) == 1 else f"{figures.tasks_per_s:,.0f} tasks/s"
    busy = f"{figures.busy:,} of {figures.workers:,} workers busy"
    missing = figures.slots - figures.workers
    out = f", {missing:,} out of service" if missing > 0 else ""
    return f"{rate}, {busy}{out}, {_hub(figures)}"


def _hub(figures: StatusFigures) -> str:
    words = _HUB.get(figures.hub, f"hub {figures.hub}")
    return f"{words} ({figures.protocol})" if figures.hub == "up" and figures.protocol else words


def _draining(figures: StatusFigures) -> str:
    if figures.tasks:
        return f"draining: {_count(figures.tasks, 'task')} left"
    if figures.results:
        return f"draining: {_count(figures.results, 'result')} left for the hub"
    return "draining: nothing left, workers end"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
