"""How ``arbd top`` looks: its state and the size of a terminal in, lines out. Pure.

    who it is, hub, tasks, CPUs, limits         as many lines as there is something to tell
    workers, actions                            share what is left, each around what is selected
    the last events                             where there is room
    a question, a message, or an operation      one line
    keys                                        one line

What comes from authors and callers is shown as printable characters alone, and a line is never wider than the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from arbd.cli._daemon import count, duration, fields_of, short_duration
from arbd.cli.top.control import Control, Page, Selectable
from arbd.cli.top.rates import DaemonRates, WorkerRates
from arbd.cli.top.sightings import in_order
from arbd.control.reports import LimitReport, OutOfService, StatusReport, WorkerReport
from arbd.core.history import shown
from arbd.core.placement import in_words

KEYS: Final = "p pause  d drain  r replace  k kill task  s stacks  Tab actions  ? help  q quit"
_PAGE_KEYS: Final = "arrows scroll  q back"
_MIB: Final = 1 << 20
_LONGEST_NAME: Final = 30  # cells of an action's name in its table
_EVENT_ROWS: Final = 3  # that are kept for events, where there is room for a screenful
_LEAST_OF_TABLE: Final = 2  # lines: its head and a row
_LATE: Final = 0.8  # of its time: from then on a running task is marked
_STATES: Final = {"serving": "green", "starting": "yellow", "draining": "yellow", "drained": "yellow"}
_LINK: Final = {"up": "green", "connecting": "yellow", "down": "bold red", "refused": "bold red"}
_LEVELS: Final = {"warning": "yellow", "error": "red", "critical": "bold red"}
_BAD: Final = "bold red"
_HEAD: Final = "bold"
_SELECTED: Final = "reverse"

Parts = list[tuple[str, str]]  # texts with their styles


class _Body(NamedTuple):
    """The rows of one table, and which of them is selected; ``head`` its first line."""

    head: list[str]
    rows: list[list[str]]
    styles: list[str]
    selected: int | None


def frame(control: Control, now: float, width: int, height: int) -> list[Text]:
    """What is on a terminal of that size: exactly so many lines, each exactly so wide."""
    width, height = max(1, width), max(1, height)
    foot = [_told(control, now), Text(_PAGE_KEYS if control.page else KEYS, "dim")]
    room = max(0, height - len(foot))
    if control.page is not None:
        lines = _page(control.page, room)
    elif control.sightings:
        lines = _list(control, now, room, width)
    else:
        lines = []
    lines = [*lines[:room], *[Text()] * (room - len(lines)), *foot]
    return [_fitted(line, width) for line in lines[-height:]]


def everything(control: Control, now: float, width: int) -> list[Text]:
    """All there is to show, as wide as that at most, for whoever cannot scroll or type."""
    status = control.sightings.last.status
    room = 32 + len(status.workers) + len(status.out_of_service) + len(status.actions)
    lines = _list(control, now, room, width, is_alive=False)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.rstrip()
    return lines


def _fitted(line: Text, width: int) -> Text:
    line = clean(line)
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


def clean(line: Text) -> Text:
    """A copy of a line in which every text of others is printable, whoever put it there. Letters that are not become
    ``?``: the line keeps its width and its colours."""
    line = line.copy()
    if not line.plain.isprintable():
        line.plain = "".join(letter if letter.isprintable() else "?" for letter in line.plain)
    return line


def _told(control: Control, now: float) -> Text:
    """The line of what is asked, or was answered, or goes on."""
    if control.question is not None:
        return Text(f"[y/N] {control.question.text}", "bold yellow")
    if control.message is not None and now < control.message.until:
        return Text(shown(control.message.text), _BAD if control.message.is_bad else "bold green")
    if control.trouble:
        return Text(f"no answer: {shown(control.trouble)}", _BAD)
    for each in control.operations.values():
        steps = f" {each.done}/{each.total}" if each.total else ""
        return Text(f"{shown(each.kind)}{steps}: {shown(each.text)}", "bold yellow")
    return Text()


def _page(page: Page, room: int) -> list[Text]:
    top = max(0, min(page.top, len(page.lines) - room))
    more = (
        f"  ({top + 1} to {min(len(page.lines), top + room)} of {len(page.lines)} lines)"
        if top or len(page.lines) > room
        else ""
    )
    return [Text(page.title + more, _HEAD), *(Text(line) for line in page.lines[top : top + max(0, room - 1)])]


# -- the list --------------------------------------------------------------------------------------------------------


def _list(control: Control, now: float, room: int, width: int, *, is_alive: bool = True) -> list[Text]:
    status, rates = control.sightings.last.status, control.sightings.rates()
    selected = control.selected if is_alive else None
    workers = _workers(status, rates, selected)
    actions = _actions(status, rates, selected)
    events = _events(control, now)
    head = _within([*_head(control, now, rates)], room, tables=bool(workers.rows) + bool(actions.rows))
    left = max(0, room - len(head))
    kept = min(len(events) + 2, _EVENT_ROWS + 2) if events and left >= 4 * _EVENT_ROWS else 0
    wanted = [len(table.rows) + 1 if table.rows else 0 for table in (workers, actions)]
    between = 1 if all(wanted) and left > _LEAST_OF_TABLE * 2 else 0
    for_workers, for_actions = _shares(left - kept - between, wanted)
    lines = [*head, *_table(workers, for_workers, width)]
    lines += [Text()] * between + _table(actions, for_actions, width)
    left = room - len(lines)
    if events and left > 2:
        lines += [Text(), Text("last events", _HEAD), *events[-(left - 2) :]]
    return lines


def _within(head: list[Text], room: int, tables: int) -> list[Text]:
    """The first lines, and one between: as many as leave each table a row on a terminal that is not high enough for
    all, because what is selected there is what the keys act on."""
    least = _LEAST_OF_TABLE * tables + max(0, tables - 1)
    if len(head) + 1 + least <= room:
        return [*head, Text()]
    return head[: max(1, room - _LEAST_OF_TABLE * tables)]


def _shares(room: int, wanted: Sequence[int]) -> list[int]:
    """How many lines each of two gets: what it wants, or half, and what the other leaves."""
    room = max(0, room)
    first = min(wanted[0], max(room // 2, room - wanted[1]))
    return [first, min(wanted[1], room - first)]


def _head(control: Control, now: float, rates: DaemonRates) -> Iterator[Text]:
    look = control.sightings.last
    status, link = look.status, look.status.link
    span = "means since its start" if rates.since_start else f"of the last {rates.span_s:.0f} s"
    age_s = now - look.at
    state = (f"seen {duration(age_s)} ago", _BAD) if control.trouble else (status.state, _STATES.get(status.state, ""))
    about = f", up {duration(status.uptime_s)} (pid {status.pid}, arbd {status.version}); rates: {span}"
    yield _line([(f"{shown(status.provider)}  ", _HEAD), state, (about, "")])
    spoken = f" ({link.protocol})" if link.protocol else ""
    figures = f"{spoken}; {_number(rates.taken)} tasks/s taken, {_number(rates.accepted)} results/s accepted"
    yield _line(
        [("hub     ", ""), (f"{shown(status.hub)} ", ""), (shown(link.state), _LINK.get(link.state, "")), (figures, "")]
    )
    if link.failures and link.state != "up":
        calls = ", ".join(f"{shown(call)} {times} times" for call, times in link.failures.items())
        yield Text(f"        failed calls: {calls}", "red")
    waiting = "red" if status.outbox >= status.outbox_limit else ""
    yield _line(
        [
            (f"tasks   {status.in_flight} in flight, {status.backlog} waiting, ", ""),
            (f"outbox {status.outbox}", waiting),
            ("; ", ""),
            *_verdicts(rates),
        ]
    )
    cpus = control.sightings.cpus()
    if cpus:
        pinned = {cpu for worker in status.workers for cpu in worker.cpus}
        shares = "  ".join(f"{cpu} {share:.0%}" for cpu, share in sorted(cpus.items()) if cpu in pinned or not pinned)
        yield Text(f"cpus    {shares}")
    if look.limits:
        yield _line([("limits  ", ""), *_limits(look.limits)])
    if status.log_lines_lost:
        yield Text(f"log     {count(status.log_lines_lost, 'line')} lost", "yellow")


def _verdicts(rates: DaemonRates) -> Parts:
    marks = {"error": "red", "limit": "yellow"}
    parts: Parts = []
    for status, rate in rates.verdicts.items():
        parts += [
            (", " if parts else "", ""),
            (f"{_number(rate)} {shown(status)}", marks.get(status, "") if rate else ""),
        ]
    return [*parts, (" /s", "")]


def _limits(limits: Sequence[LimitReport]) -> Parts:
    parts: Parts = []
    for each in limits:
        style = _BAD if each.trouble else "yellow" if each.usage >= 1 else ""
        what = "put off" if each.trouble else f"{each.usage:.0%} used"
        rejected = f", {each.rejections} rejected" if each.rejections else ""
        parts += [("   " if parts else "", ""), (f"{shown(each.name, _LONGEST_NAME)} {what}{rejected}", style)]
    return parts


def _workers(status: StatusReport, rates: DaemonRates, selected: Selectable | None) -> _Body:
    head = ["worker", "pid", "cpu", "state", "tasks/s", "busy", "on cpu", "memory", "running"]
    rows = [_worker(*each) for each in zip(status.workers, rates.workers, strict=True)]
    styles = [_worker_style(each) for each in status.workers]
    keys = [Selectable("worker", "", each.slot, each.pid) for each in status.workers]
    taken = {each.slot for each in status.workers}
    empty = [each for each in status.out_of_service if each.slot not in taken]
    rows += map(_empty_slot, empty)
    styles += [_BAD] * len(empty)
    keys += [Selectable("worker", "", each.slot) for each in empty]
    return _Body(head, rows, styles, _place_of(selected, keys))


def _worker(worker: WorkerReport, rates: WorkerRates) -> list[str]:
    running = worker.running
    task = f"{running.elapsed_s:.1f}/{running.timeout_s:g} s {running.action} {running.id}" if running else "-"
    return [
        str(worker.slot),
        str(worker.pid or "-"),
        in_words(worker.cpus),
        worker.state,
        _number(rates.tasks),
        f"{rates.busy:.0%}",
        f"{rates.cpu:.0%}",
        "-" if worker.rss is None else f"{worker.rss / _MIB:.0f} MiB",
        task,
    ]


def _worker_style(worker: WorkerReport) -> str:
    running = worker.running
    if running is not None and running.elapsed_s >= running.timeout_s:
        return "red"
    if running is not None and running.elapsed_s >= _LATE * running.timeout_s:
        return "yellow"
    return "" if worker.state == "serving" else "yellow"


def _empty_slot(slot: OutOfService) -> list[str]:
    why = f"{slot.kind}, again in {duration(slot.retry_in_s)}: {slot.reason}"
    return [str(slot.slot), "-", "-", "out", "-", "-", "-", "-", why]


def _actions(status: StatusReport, rates: DaemonRates, selected: Selectable | None) -> _Body:
    head = ["action", "tasks/s", "error/s", "limit/s", "run", "timeout", "running", ""]
    paused = {each.action: each for each in status.paused}
    rows, styles = [], []
    actions = in_order(status.actions)
    for each in actions:
        rate, stop = rates.actions[each.name], paused.get(each.name)
        state = f"paused {duration(stop.for_s)}, {stop.waiting} waiting" if stop else ""
        if each.name in status.ending_actions:
            state += f"{', ' if state else ''}ended {count(status.ending_actions[each.name], 'worker')}"
        rows.append(
            [
                _cut(shown(each.name)) if each.name else "(not offered)",
                *map(_number, (rate.all, rate.error, rate.limit)),
                "-" if each.run_s is None else short_duration(each.run_s),
                "-" if each.timeout_s is None else f"{each.timeout_s:g} s",
                str(each.running),
                state,
            ]
        )
        styles.append("yellow" if stop else "red" if rate.error and rate.error >= rate.success else "")
    keys = [Selectable("action", each.name) for each in actions]
    return _Body(head, rows, styles, _place_of(selected, keys))


def _events(control: Control, now: float) -> list[Text]:
    lines = []
    for at, event in control.sightings.events:
        when = f"{duration(max(0.0, now - at)):>12} ago  "
        text = f"{event.level:8} {event.event}  {fields_of(event)}"
        lines.append(_line([(when, "dim"), (shown(text), _LEVELS.get(event.level, ""))]))
    return lines


# -- tables ----------------------------------------------------------------------------------------------------------


def _table(body: _Body, room: int, width: int) -> list[Text]:
    """As many rows as there is room for, around the one that is selected. Numbers of rows left out are told."""
    if room < 2 or not body.rows:
        return []
    first, last = _window(len(body.rows), room - 1, body.selected)
    rows = [[shown(cell) for cell in row] for row in body.rows[first:last]]
    widths = [max(cell_len(row[column]) for row in (body.head, *rows)) for column in range(len(body.head))]
    left_out = len(body.rows) - (last - first)
    head = [*body.head[:-1], f"{body.head[-1]}  +{left_out} rows".strip() if left_out else body.head[-1]]
    lines = [Text("  " + _joined(head, widths), _HEAD)]
    for number, row in enumerate(rows, first):
        is_selected = number == body.selected
        text = ("> " if is_selected else "  ") + _joined(row, widths)
        style = f"{body.styles[number]} {_SELECTED}".strip() if is_selected else body.styles[number]
        lines.append(Text(set_cell_size(text, width) if is_selected else text, style))
    return lines


def _window(rows: int, room: int, selected: int | None) -> tuple[int, int]:
    """Which rows are shown: those around the selected one."""
    if rows <= room:
        return 0, rows
    first = max(0, min((selected or 0) - room // 2, rows - room))
    return first, first + room


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [set_cell_size(cell, width) for cell, width in zip(cells[:-1], widths, strict=False)]
    return "  ".join([*padded, cells[-1]])


def _place_of(selected: Selectable | None, keys: Sequence[Selectable]) -> int | None:
    return keys.index(selected) if selected in keys else None


def _line(parts: Parts) -> Text:
    return Text.assemble(*parts)


def _cut(name: str) -> str:
    return name if cell_len(name) <= _LONGEST_NAME else set_cell_size(name, _LONGEST_NAME - 1) + "…"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else "0" if rate == 0 else f"{rate:.1f}" if rate >= 0.05 else "<0.1"
