"""``arbd status``: the state of a running daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from arbd.cli import _show
from arbd.cli._daemon import count, daemon_finder, duration, share, short_duration, watch
from arbd.control.reports import ActionReport, Replacement, StatusReport, WorkerReport
from arbd.core.history import shown
from arbd.core.placement import in_words
from arbd.errors import EXIT_FAILURE, ControlError
from arbd.model.link_stats import LinkProcessStats
from arbd.settings.kinds import show_size

_MIB: Final = 1 << 20
_WORKER_COLUMNS: Final = (
    *("worker", "pid", "cpu", "state", "tasks", "busy", "on cpu", "waiting"),
    *("memory", "fds", "age", "gen", "running"),
)
_ACTION_COLUMNS: Final = ("action", "success", "error", "limit", "running", "run", "timeout")
_CHECK_TIMEOUT_S: Final = 2.0  # of an answer: whoever checks has a time limit of its own, often of 3 s
_MOST_OF_LINE: Final = 1000


@click.command(
    "status",
    short_help="How a running daemon is: hub, workers, tasks.",
    epilog="""\b
Examples:
  arbd status                    the daemon that runs here
  arbd status prices             the one of provider prices; prices@2 if there is a second one
  arbd status --json | jq .link.state
  arbd status --watch            again every second; arbd top shows more, and takes keys
  arbd status --check prices     for load balancers and HEALTHCHECK: the exit code tells

The exit code is 0 if the daemon answers, 1 if there is none or it does not answer within 5 s; with --check it is 0 only
if it takes tasks: it is not drained, the hub is up, and a worker serves. With --json and --watch, every look is one
line of JSON.""",
)
@click.option("--watch", "again", is_flag=True, help="Look again every second, until Ctrl-C or the daemon's end.")
@click.option("--check", is_flag=True, help="Print one line: whether it is good, or why not.")
@daemon_finder
def command(find: Callable[[], Path], as_json: bool, again: bool, check: bool) -> None:
    """Ask a running daemon how it is.

    DAEMON is the name of its provider or the path of its control socket; it may be left out if only one is running.
    """
    if again and check:
        raise click.UsageError("--check looks once: give either it or --watch")
    if check:
        _check(find, as_json)
        return
    from arbd.control.client import ask
    from arbd.control.protocol import GetStatus, StatusReply

    path = find()

    def look() -> None:
        report = ask(path, GetStatus(), StatusReply).report
        if as_json and again:
            _show.json_line(report)
        elif as_json:
            _show.json_document(report)
        else:
            if again:
                _show.clear()
            _print(report)

    if again:
        watch(look)
    else:
        look()


def _check(find: Callable[[], Path], as_json: bool) -> None:
    """Print one line, and end with the exit code that says the same."""
    from arbd.control.client import ask
    from arbd.control.health import problems, serving
    from arbd.control.protocol import GetStatus, StatusReply

    document: dict[str, object] = {}
    try:
        report = ask(find(), GetStatus(), StatusReply, timeout_s=_CHECK_TIMEOUT_S).report
    except ControlError as error:
        found, line = [str(error)], str(error)
    else:
        found, serve = problems(report), f"{serving(report)} of {count(report.workers_wanted, 'worker')} serve"
        line = f"{report.provider}: {'; '.join(found) or f'good: the hub is up, {serve}'}"
        document = {"provider": report.provider, "state": report.state, "hub": report.link.state}
        document["serving"] = serving(report)
    if as_json:
        _show.json_line({"good": not found, "problems": found, **document})
    else:
        _show.say(shown(line, _MOST_OF_LINE))
    if found:
        click.get_current_context().exit(EXIT_FAILURE)


def _print(report: StatusReport) -> None:
    for line in _lines(report):
        _show.say(line)
    if report.link.links:
        _show.say()
        _show.table(("link", "pid", "state", "tasks", "results", "on cpu"), map(_link_row, report.link.links))
    _show.say()
    _show.table(_WORKER_COLUMNS, map(_row, report.workers))
    if report.actions:
        _show.say()
        _show.table(_ACTION_COLUMNS, map(_action_row, report.actions))
    if report.replacements:
        _show.say()
        _show.table(("replaced", "worker", "reason", "action", "detail"), map(_replacement_row, report.replacements))


def _lines(report: StatusReport) -> Iterator[str]:
    yield f"{report.provider}  {report.state}, up {duration(report.uptime_s)} (pid {report.pid}, arbd {report.version})"
    link = report.link
    taken, accepted = count(link.tasks, "task"), count(link.accepted, "result")
    yield f"hub     {report.hub} {link.state}; {taken} taken, {accepted} accepted"
    if link.failures:
        yield "        failed calls: " + ", ".join(f"{call} {times} times" for call, times in link.failures.items())
    answered = ", ".join(f"{times} {status}" for status, times in report.verdicts.items())
    yield f"tasks   {report.in_flight} in flight, of which {report.backlog} wait for a worker; answered: {answered}"
    if report.refused:
        refused = ", ".join(f"{times} {shown(kind)}" for kind, times in report.refused.items())
        yield f"        refused for what their callers sent: {refused}"
    if report.joined:
        yield f"        handed out again by the hub while under way: {count(report.joined, 'time')}; each id runs once"
    if report.workers_wanted != report.workers_at_next_start:
        wanted = count(report.workers_wanted, "worker")
        yield f"workers {wanted} asked for; the next start has {report.workers_at_next_start}"
    waiting = count(report.outbox, "result")
    yield f"outbox  {waiting} not yet accepted by the hub (no more tasks are taken from {report.outbox_limit} on)"
    if report.metrics:
        yield f"metrics http://{report.metrics}/metrics (also /livez, /readyz)"
    for slot in report.out_of_service:
        times = f" {slot.times} times in a row" if slot.times > 1 else ""
        yield (
            f"worker {slot.slot} is out of service ({shown(slot.kind)}{times}; tried again in "
            f"{duration(slot.retry_in_s)}): {shown(slot.reason)}"
        )
    for each in report.paused:
        turned_away = f"; {each.refused} more turned away" if each.refused else ""
        name, waiting = shown(each.action), count(each.waiting, "task")
        yield f"paused  {name} for {duration(each.for_s)}: {waiting} waiting for `arbd resume {name}`{turned_away}"
    for action, ended in report.ending_actions.items():
        yield f"action  {shown(action)} ended {count(ended, 'worker')}{' in a row' if ended > 1 else ''}"
    if report.log_lines_lost:
        lost = count(report.log_lines_lost, "line")
        yield f"log     {lost} lost: what reads standard error fell behind, or could take no more"


def _link_row(link: LinkProcessStats) -> tuple[str, ...]:
    on_cpu = share(link.cpu_s, link.age_s)
    return (str(link.number), str(link.pid), link.state, str(link.tasks), str(link.unacked), on_cpu)


def _row(worker: WorkerReport) -> tuple[str, ...]:
    running = worker.running
    return (
        str(worker.slot),
        str(worker.pid or "-"),
        in_words(worker.cpus),
        worker.state,
        str(worker.tasks_done),
        share(worker.busy_s, worker.age_s),
        share(worker.cpu_s, worker.age_s),
        str(worker.waiting),
        "-" if worker.rss is None else show_size(worker.rss // _MIB * _MIB),
        "-" if worker.descriptors is None else str(worker.descriptors),
        duration(worker.age_s),
        str(worker.generation),
        f"{shown(running.action)} for {duration(running.elapsed_s)} of {running.timeout_s:g} s" if running else "-",
    )


def _action_row(action: ActionReport) -> tuple[str, ...]:
    return (
        shown(action.name) or "(not offered)",
        *(str(number) for number in (action.success, action.error, action.limit, action.running)),
        "-" if action.run_s is None else short_duration(action.run_s),
        "-" if action.timeout_s is None else f"{action.timeout_s:g} s",
    )


def _replacement_row(replaced: Replacement) -> tuple[str, ...]:
    words = (replaced.reason, replaced.action or "-", replaced.detail)
    return (f"{duration(replaced.ago_s)} ago", str(replaced.slot), *map(shown, words))
