"""The text that Prometheus reads: the one table of metric names, and how figures become lines. Pure.

Text format 0.0.4. Names are modelled on those of Temporal's workers, in base units. Labels are bounded: by the actions
that are offered, by the slots of workers, by limits, or by a closed list of words; what callers send is in none.

Most lines are buckets of histograms: three of each action, with one bucket for each power of two of nanoseconds that is
shown. Their beginnings never change, so they are made once for each action.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Final, NamedTuple

from arbd.control.snapshot import Snapshot
from arbd.ipc import metrics_page as page
from arbd.ipc.metrics_page import ActionRow
from arbd.model.link_stats import STATES
from arbd.model.reasons import NUMBER_OF
from arbd.model.task import STATUSES
from arbd.printable import printable_lines

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER_ACTIONS: Final = "(other)"
"""The label of all actions that are not offered, or not any more."""

FIRST_BUCKET: Final = 13  # 2^13 ns: 8.2 µs
LAST_BUCKET: Final = 39  # 2^39 ns: 9 minutes
BOUNDS_S: Final = tuple(2**bits / 1e9 for bits in range(FIRST_BUCKET, LAST_BUCKET + 1))

_DAEMON_STATES: Final = ("starting", "serving", "draining", "drained")
_WORKER_STATES: Final = ("starting", "serving", "leaving", "retiring", "condemned")
_MOST_FAILURES: Final = 200  # of calls to the hub: 17 status codes for each method
_ROWS_A_PIECE: Final = 25


class Family(NamedTuple):
    """A metric: its name without the prefix, its type, what it is, and its labels."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


# A table is read by its rows; the formatter would give each cell a line of its own.
# fmt: off
TABLE: Final = (
    Family("build_info", "gauge", "Always 1; the version of arbd is in the label.", ("provider", "version")),
    Family("uptime_seconds", "gauge", "How long the daemon has been running."),
    Family("snapshot_age_seconds", "gauge", "How long ago the supervisor last said how it is: 1 s at most, if it is not stuck."),  # noqa: E501  # a row
    Family("ready", "gauge", "1: the daemon takes tasks, as /readyz says."),
    Family("state", "gauge", "1 for the state of the daemon, 0 for the others.", ("state",)),
    Family("tasks_total", "counter", "Tasks answered, by outcome.", ("action", "outcome")),
    Family("task_failures_total", "counter", "Tasks answered with an error, by reason; invalid: refused by the schema.", ("action", "reason")),  # noqa: E501  # a row
    Family("task_queue_seconds", "histogram", "How long tasks that were run waited here, for a worker and for their result to be taken.", ("action",)),  # noqa: E501  # a row
    Family("task_run_seconds", "histogram", "How long tasks ran in a worker.", ("action",)),
    Family("task_end_to_end_seconds", "histogram", "From the arrival of a task to its verdict, also of tasks that were not run.", ("action",)),  # noqa: E501  # a row
    Family("task_cpu_seconds_total", "counter", "CPU time of workers, by the action that they ran.", ("action",)),
    Family("task_kills_total", "counter", "Workers killed for a task that ran on after its deadline, or after it was cancelled.", ("action",)),  # noqa: E501  # a row
    Family("action_workers_ended_total", "counter", "Workers that ended for a task of this action: killed, died, or left because of it.", ("action",)),  # noqa: E501  # a row
    Family("tasks_running", "gauge", "Tasks that run at this moment.", ("action",)),
    Family("action_paused", "gauge", "1: an operator has paused the action.", ("action",)),
    Family("tasks_in_flight", "gauge", "Tasks that have come and have no verdict yet."),
    Family("tasks_waiting", "gauge", "Tasks in flight that wait for a worker."),
    Family("tasks_joined_total", "counter", "Tasks that the hub handed out again while they were under way."),
    Family("outbox_results", "gauge", "Results that the hub has not accepted yet."),
    Family("outbox_limit_results", "gauge", "No more tasks are taken from so many results on."),
    Family("workers", "gauge", "Worker processes by state.", ("state",)),
    Family("workers_wanted", "gauge", "How many workers there are to be."),
    Family("workers_out_of_service", "gauge", "Slots in which no worker can be started for now."),
    Family("worker_replacements_total", "counter", "Workers replaced, by reason.", ("reason",)),
    Family("worker_starts_total", "counter", "Workers that were started in this slot.", ("worker",)),
    Family("worker_tasks_total", "counter", "Tasks that the workers of this slot have answered.", ("worker",)),
    Family("worker_busy_seconds_total", "counter", "Time that the workers of this slot spent in tasks.", ("worker",)),
    Family("worker_cpu_seconds_total", "counter", "CPU time of the workers of this slot.", ("worker",)),
    Family("worker_rss_bytes", "gauge", "Resident memory of the worker, pages that it shares with others included.", ("worker",)),  # noqa: E501  # a row
    Family("worker_descriptors", "gauge", "Descriptors that the worker has open.", ("worker",)),
    Family("worker_age_seconds", "gauge", "How long ago the worker was started.", ("worker",)),
    Family("worker_waiting_tasks", "gauge", "Tasks in the worker's ring behind the one that runs.", ("worker",)),
    Family("supervisor_rss_bytes", "gauge", "Resident memory of the supervisor."),
    Family("supervisor_cpu_seconds_total", "counter", "CPU time of the supervisor."),
    Family("supervisor_descriptors", "gauge", "Descriptors that the supervisor has open."),
    Family("limit_usage_ratio", "gauge", "How much of a rate limit is used now; above 1 for a cost that overran.", ("limit",)),  # noqa: E501  # a row
    Family("limit_allowed_total", "counter", "Calls that a rate limit has let through.", ("limit",)),
    Family("limit_refused_total", "counter", "Calls that a rate limit has turned away.", ("limit",)),
    Family("limit_troubled", "gauge", "1: nothing more is let through for now, because the limit cannot be asked.", ("limit",)),  # noqa: E501  # a row
    Family("hub_up", "gauge", "1: the connection to the hub is up."),
    Family("hub_state", "gauge", "1 for the state of the connection to the hub, 0 for the others.", ("state",)),
    Family("link_polls_total", "counter", "Calls that asked the hub for tasks."),
    Family("link_empty_polls_total", "counter", "Those of them that brought none."),
    Family("link_tasks_total", "counter", "Tasks that the hub gave."),
    Family("link_submits_total", "counter", "Calls that brought results to the hub."),
    Family("link_accepted_total", "counter", "Results that the hub has accepted."),
    Family("link_retried_total", "counter", "Results that were sent once more."),
    Family("link_dropped_total", "counter", "Results that the hub would never take."),
    Family("link_shortened_total", "counter", "Results that went without their payload, or as an error that says they were too large."),  # noqa: E501  # a row
    Family("link_reconnects_total", "counter", "Connections given up because they were silent."),
    Family("link_frames_received_total", "counter", "Messages received on streams."),
    Family("link_frames_sent_total", "counter", "Messages sent on streams."),
    Family("link_cancels_total", "counter", "Tasks that the hub has cancelled."),
    Family("link_failures_total", "counter", "Failed calls to the hub, by method and status.", ("method", "reason")),
    Family("log_lines_lost_total", "counter", "Log lines that were dropped, because nobody read them."),
)
# fmt: on
PREFIX: Final = "arbd_"
BY_NAME: Final = {family.name: family for family in TABLE}
_OF_LINK: Final = {
    "link_polls_total": "polls",
    "link_empty_polls_total": "empty",
    "link_tasks_total": "tasks",
    "link_submits_total": "submits",
    "link_accepted_total": "accepted",
    "link_retried_total": "retried",
    "link_dropped_total": "dropped",
    "link_shortened_total": "shortened",
    "link_reconnects_total": "reconnects",
    "link_frames_received_total": "frames_in",
    "link_frames_sent_total": "frames_out",
    "link_cancels_total": "cancels",
}


class Footprint(NamedTuple):
    """What a process holds; ``None``: that cannot be seen."""

    rss: int | None = None
    descriptors: int | None = None
    cpu_s: float | None = None


class MetricFigures(NamedTuple):
    """All that is shown, as it was read: the rows of actions, the counters of slots that were ever used, the last
    snapshot (``None``: none can be read) and its age, what /readyz says, and what processes hold: workers by slot."""

    rows: Sequence[ActionRow]
    slots: Mapping[int, Sequence[int]]
    snapshot: Snapshot | None
    age_s: float
    is_ready: bool
    workers: Mapping[int, Footprint]
    supervisor: Footprint


def escape(text: str) -> str:
    """A text as the value of a label: as Prometheus wants it, and fit for the terminal of whoever asks by hand. A NUL
    would even be the end of the whole text for Prometheus' own parser."""
    return escape_help(text).replace('"', '\\"')


def escape_help(text: str) -> str:
    """A text as the documentation of a metric."""
    return printable_lines(text).replace("\\", "\\\\").replace("\n", "\\n")


def labelled(name: str, **labels: str) -> str:
    """The beginning of a line, up to its value."""
    if not labels:
        return f"{PREFIX}{name} "
    inside = ",".join(f'{label}="{escape(value)}"' for label, value in labels.items())
    return f"{PREFIX}{name}{{{inside}}} "


def head(name: str) -> str:
    """The two lines before those of a metric."""
    family = BY_NAME[name]
    return f"# HELP {PREFIX}{name} {family.help}\n# TYPE {PREFIX}{name} {family.kind}\n"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


class _ActionText:
    """The beginnings of the lines of one action's histograms."""

    __slots__ = ("histograms",)

    def __init__(self, action: str) -> None:
        bounds = [repr(bound) for bound in BOUNDS_S] + ["+Inf"]
        self.histograms = {
            name: [
                *(labelled(f"{name}_bucket", action=action, le=bound) for bound in bounds),
                labelled(f"{name}_sum", action=action),
                labelled(f"{name}_count", action=action),
            ]
            for name in ("task_queue_seconds", "task_run_seconds", "task_end_to_end_seconds")
        }


class Exposition:
    """Makes the text of one daemon; it keeps the beginnings of lines from one scrape to the next."""

    def __init__(self) -> None:
        self._texts: dict[str, _ActionText] = {}

    def pieces(self, figures: MetricFigures, more: Iterable[str] = ()) -> Iterator[bytes]:
        """The text in pieces of a millisecond or so. ``more``: metrics of others, in whole families."""
        rows = _by_label(figures.rows)
        self._texts = {action: self._texts.get(action) or _ActionText(action) for action in rows}
        yield "".join(_of_daemon(figures)).encode()
        yield "".join(_of_actions(rows)).encode()
        for name in ("task_queue_seconds", "task_run_seconds", "task_end_to_end_seconds"):
            yield head(name).encode()
            lines: list[str] = []
            for number, (action, words) in enumerate(rows.items(), 1):
                lines += self._histogram(name, action, words)
                if number % _ROWS_A_PIECE == 0:
                    yield _joined(lines)
                    lines = []
            yield _joined(lines)
        for text in more:
            yield text.encode()

    def _histogram(self, name: str, action: str, words: Sequence[int]) -> Iterator[str]:
        if name == "task_run_seconds":
            buckets, sum_ns = words[page.RUN : page.RUN + page.BUCKETS], words[page.RUN_NS]
        elif name == "task_queue_seconds":
            buckets, sum_ns = words[page.WAIT : page.WAIT + page.BUCKETS], words[page.WAIT_NS]
        else:
            of_status = (words[at : at + page.BUCKETS] for at in page.OF_STATUS.values())
            buckets = list(map(sum, zip(*of_status, strict=True)))
            sum_ns = words[page.RUN_NS] + words[page.WAIT_NS] + words[page.DECIDED_NS]
        total = sum(buckets)
        shown = accumulate([sum(buckets[: FIRST_BUCKET + 1]), *buckets[FIRST_BUCKET + 1 : LAST_BUCKET + 1]])
        values = map(str, chain(shown, (total, sum_ns / 1e9, total)))
        return map(operator.add, self._texts[action].histograms[name], values)


def _joined(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _by_label(rows: Sequence[ActionRow]) -> dict[str, list[int]]:
    """The counters of each label. Two actions whose names are cut to the same text share one: twice the same line would
    make the whole text unreadable."""
    found: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        label = row.name if number else OTHER_ACTIONS
        if label in found:
            found[label] = list(map(operator.add, found[label], row.words))
        else:
            found[label] = row.words
    return found


def _family(name: str, samples: Iterable[tuple[dict[str, str], float | None]]) -> Iterator[str]:
    """A metric with its samples; those of the same labels are added up, and what nobody knows is left out."""
    family = BY_NAME[name]
    summed: dict[tuple[str, ...], float] = {}
    for labels, value in samples:
        if value is not None:
            key = tuple(labels[label] for label in family.labels)
            summed[key] = summed.get(key, 0) + value
    if summed:
        yield head(name)
    for key, value in summed.items():
        yield f"{labelled(name, **dict(zip(family.labels, key, strict=True)))}{_number(value)}\n"


def _one(name: str, value: float | None) -> Iterator[str]:
    return _family(name, [({}, value)])


def _of_actions(rows: Mapping[str, Sequence[int]]) -> Iterator[str]:
    yield from _family(
        "tasks_total",
        (
            ({"action": action, "outcome": status}, sum(words[page.OF_STATUS[status] :][: page.BUCKETS]))
            for action, words in rows.items()
            for status in STATUSES
        ),
    )
    yield from _family(
        "task_failures_total",
        (
            ({"action": action, "reason": reason}, words[page.FAILURES + number])
            for action, words in rows.items()
            for reason, number in NUMBER_OF.items()
        ),
    )
    by_action = {"task_kills_total": page.KILLS, "action_workers_ended_total": page.WORKERS_ENDED}
    for name, at in by_action.items():
        yield from _family(name, (({"action": action}, words[at]) for action, words in rows.items()))
    cpu = (({"action": action}, words[page.CPU_NS] / 1e9) for action, words in rows.items())
    yield from _family("task_cpu_seconds_total", cpu)


def _of_daemon(figures: MetricFigures) -> Iterator[str]:
    yield from _one("snapshot_age_seconds", figures.age_s)
    yield from _one("ready", int(figures.is_ready))
    yield from _of_processes(figures)
    snapshot = figures.snapshot
    if snapshot is None:
        return
    status = snapshot.status
    yield from _family("build_info", [({"provider": status.provider, "version": status.version}, 1)])
    yield from _one("uptime_seconds", status.uptime_s)
    yield from _one_of("state", _DAEMON_STATES, status.state)
    yield from _one("tasks_in_flight", status.in_flight)
    yield from _one("tasks_waiting", status.backlog)
    yield from _one("tasks_joined_total", status.joined)
    yield from _one("outbox_results", status.outbox)
    yield from _one("outbox_limit_results", status.outbox_limit)
    yield from _one("workers_wanted", status.workers_wanted)
    yield from _one("workers_out_of_service", len(status.out_of_service))
    yield from _one("log_lines_lost_total", status.log_lines_lost)
    states = dict.fromkeys(_WORKER_STATES, 0)
    for worker in status.workers:
        states[worker.state] = states.get(worker.state, 0) + 1
    yield from _family("workers", (({"state": state}, count) for state, count in states.items()))
    replaced = (({"reason": reason}, count) for reason, count in snapshot.replaced.items())
    yield from _family("worker_replacements_total", replaced)
    label = {each.name: each.name or OTHER_ACTIONS for each in status.actions}
    running = (({"action": label[each.name]}, each.running) for each in status.actions)
    yield from _family("tasks_running", running)
    paused = {each.action for each in status.paused}
    yield from _family("action_paused", (({"action": label[name]}, int(name in paused)) for name in label if name))
    waiting = (({"worker": str(each.slot)}, each.waiting) for each in status.workers)
    yield from _family("worker_waiting_tasks", waiting)
    ages: dict[int, float] = {}
    for worker in status.workers:  # of two in one slot, that of the older one
        ages[worker.slot] = max(ages.get(worker.slot, 0.0), worker.age_s)
    yield from _family("worker_age_seconds", (({"worker": str(slot)}, age_s) for slot, age_s in ages.items()))
    yield from _of_limits(snapshot)
    yield from _of_hub(snapshot)


def _of_processes(figures: MetricFigures) -> Iterator[str]:
    slots = figures.slots.items()
    yield from _family("worker_starts_total", (({"worker": str(slot)}, has[page.SLOT_STARTS]) for slot, has in slots))
    yield from _family("worker_tasks_total", (({"worker": str(slot)}, has[page.SLOT_TASKS]) for slot, has in slots))
    busy = (({"worker": str(slot)}, has[page.SLOT_BUSY_NS] / 1e9) for slot, has in slots)
    yield from _family("worker_busy_seconds_total", busy)
    cpu = (({"worker": str(slot)}, has[page.SLOT_CPU_NS] / 1e9) for slot, has in slots)
    yield from _family("worker_cpu_seconds_total", cpu)
    workers = figures.workers.items()
    yield from _family("worker_rss_bytes", (({"worker": str(slot)}, has.rss) for slot, has in workers))
    yield from _family("worker_descriptors", (({"worker": str(slot)}, has.descriptors) for slot, has in workers))
    yield from _one("supervisor_rss_bytes", figures.supervisor.rss)
    yield from _one("supervisor_descriptors", figures.supervisor.descriptors)
    yield from _one("supervisor_cpu_seconds_total", figures.supervisor.cpu_s)


def _of_limits(snapshot: Snapshot) -> Iterator[str]:
    limits = snapshot.limits
    yield from _family("limit_usage_ratio", (({"limit": each.name}, each.usage) for each in limits))
    yield from _family("limit_allowed_total", (({"limit": each.name}, each.allowed) for each in limits))
    yield from _family("limit_refused_total", (({"limit": each.name}, each.refused) for each in limits))
    yield from _family("limit_troubled", (({"limit": each.name}, int(each.troubled)) for each in limits))


def _of_hub(snapshot: Snapshot) -> Iterator[str]:
    state = snapshot.status.link.state
    yield from _one("hub_up", int(state == "up"))
    yield from _one_of("hub_state", STATES, state)
    for name, counter in _OF_LINK.items():
        yield from _one(name, snapshot.link.get(counter, 0))
    failures = list(snapshot.link_failures.items())[:_MOST_FAILURES]
    split = ((call.partition(" "), count) for call, count in failures)
    labels = (({"method": method, "reason": reason}, count) for (method, _, reason), count in split)
    yield from _family("link_failures_total", labels)


def _one_of(name: str, states: Sequence[str], state: str) -> Iterator[str]:
    return _family(name, (({"state": each}, int(each == state)) for each in states))
