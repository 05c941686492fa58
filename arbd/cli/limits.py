"""``arbd limits``: the rate limits of a running daemon, and who holds what of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _show
from arbd.cli._daemon import daemon_options, duration, watch
from arbd.control.reports import LimitReport

if TYPE_CHECKING:
    from arbd.control.protocol import LimitsReply

_NO_LIMITS: Final = (
    "has no rate limits. This gives it one; register() takes the same argument for one action:",
    "",
    "  from arbd.rate_limit import TimeBasedRateLimitMonitor",
    "  provider = Provider(..., rate_limit_monitor=TimeBasedRateLimitMonitor(max_calls_per_second=2))",
)

_LEGEND: Final = (
    "used: the part of the limit that is taken now; at 100 % calls are turned away, or wait.",
    "held: granted to a worker that has not started these calls yet; what an idle worker holds goes back.",
)


@click.command(
    "limits",
    short_help="Rate limits of a running daemon: use, who holds what.",
    epilog="""\b
Examples:
  arbd limits                    of the daemon that runs here
  arbd limits prices --watch     of provider prices, again every second
  arbd limits --json | jq '.limits[] | select(.usage > 0.9) | .name'

With --json and --watch, every look is one line of JSON.

The exit code is 0 if the daemon answers, also if it has no limits, 1 if there is none.""",
)
@click.option("--watch", "again", is_flag=True, help="Look again every second, until Ctrl-C.")
@daemon_options
def command(path: Path, as_json: bool, again: bool) -> None:
    """Ask a running daemon for its rate limits: rule, use, what each worker holds, and the last rejections.

    DAEMON is the name of its provider or the path of its control socket; it may be left out if only one is running.
    """
    from arbd.control.client import ask
    from arbd.control.protocol import GetLimits, LimitsReply

    def look() -> None:
        reply = ask(path, GetLimits(), LimitsReply)
        if as_json and again:
            _show.json_line(_document(reply))
        elif as_json:
            _show.json_document(_document(reply))
        else:
            if again:
                _show.clear()
            _print(reply)

    if again:
        watch(look)
    else:
        look()


def _document(reply: LimitsReply) -> dict[str, object]:
    return {"provider": reply.provider, "limits": reply.limits}


def _print(reply: LimitsReply) -> None:
    if not reply.limits:
        _show.say(f"{reply.provider} {_NO_LIMITS[0]}", *_NO_LIMITS[1:])
        return
    _show.table(("limit", "of", "rule", "per second", "used", "at the limit", "rejected"), map(_row, reply.limits))
    holdings = [row for limit in reply.limits for row in _holdings(limit)]
    if holdings:
        _show.say()
        _show.table(("limit", "worker", "granted", "spent", "held"), holdings)
    rejections = [row for limit in reply.limits for row in _rejections(limit)]
    if rejections:
        _show.say()
        _show.table(("last rejected", "when", "worker", "to come back after"), rejections)
    troubles = [(limit.name, limit.trouble) for limit in reply.limits if limit.trouble is not None]
    if troubles:
        _show.say()
        _show.table(("put off", "because"), troubles)
    _show.say("", *_LEGEND)


def _row(limit: LimitReport) -> tuple[str, ...]:
    return (
        limit.name,
        _scope(limit),
        limit.rule,
        "-" if limit.rate is None else f"{limit.rate:.3g}",
        f"{limit.usage:.0%}",
        limit.at_limit,
        str(limit.rejections),
    )


def _scope(limit: LimitReport) -> str:
    return ", ".join(limit.actions) if limit.actions else limit.scope


def _holdings(limit: LimitReport) -> Iterator[tuple[str, ...]]:
    for each in limit.holdings:
        yield (limit.name, str(each.worker), str(each.granted), str(each.spent), str(each.held))


def _rejections(limit: LimitReport) -> Iterator[tuple[str, ...]]:
    for each in limit.last_rejections:
        worker = "-" if each.worker is None else str(each.worker)
        yield (limit.name, f"{duration(each.ago_s)} ago", worker, f"{each.wait_time:.3g} s")
