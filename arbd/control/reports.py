"""Reports of a running daemon: plain data, for the control socket and whoever shows it.

Not the messages that carry it (``arbd.control.protocol``), and not who collects it (``arbd.supervisor.reporter``).

Invariants: no secret, no payload, no account is ever in a report; lengths of time are seconds of a monotonic clock,
counted back from the moment of the report, so that no two clocks are ever compared; each list is bounded by the
number of workers, of actions, of limits or by a constant. A new field has a default, so that older commands and daemons
go on understanding each other.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from arbd.model.link_stats import LinkStats

DaemonState = Literal["starting", "serving", "draining", "drained"]
OperationState = Literal["running", "done", "failed"]
LimitScope = Literal["provider", "action", "by hand"]


class RunningTask(msgspec.Struct, frozen=True):
    """The task that a worker runs: for how long, and how long it may take."""

    id: str
    action: str
    elapsed_s: float
    timeout_s: float


class WorkerReport(msgspec.Struct, frozen=True):
    """The state of one worker process. ``cpus`` are those it is pinned to, none where it is not; ``busy_s`` the time it
    spent in tasks, the running one included, ``cpu_s`` the CPU time of its process, both since it started ``age_s``
    ago; ``waiting`` counts the tasks behind the running one. ``rss``: its memory in bytes, pages that it shares with
    others included; ``descriptors``: how many it has open; ``None`` where that cannot be seen. ``generation``: how
    often the author's code had been loaded when this worker's was, 1 at the start of the daemon."""

    slot: int
    pid: int
    cpus: tuple[int, ...]
    state: str
    age_s: float
    tasks_done: int
    busy_s: float
    cpu_s: float
    waiting: int
    running: RunningTask | None = None
    rss: int | None = None
    descriptors: int | None = None
    generation: int = 0


class Replacement(msgspec.Struct, frozen=True):
    """A worker that was replaced ``ago_s`` seconds ago: for what ``reason``, in a word and in a sentence, and the
    action to blame, if any. Not those that a reload replaces."""

    slot: int
    reason: str
    detail: str
    action: str
    ago_s: float


class OutOfService(msgspec.Struct, frozen=True):
    """A slot without a worker, in which none can be started for now: the ``kind`` of trouble in a word, the reason, how
    often in a row; it is tried again in ``retry_in_s`` seconds."""

    slot: int
    kind: str
    reason: str
    times: int
    retry_in_s: float


class PausedAction(msgspec.Struct, frozen=True):
    """An action that an operator paused ``for_s`` seconds ago: how many of its tasks wait for the end of that, and how
    many found no room to wait and were turned away."""

    action: str
    waiting: int
    refused: int
    for_s: float


class ActionReport(msgspec.Struct, frozen=True):
    """How one action has been answered since the start of the daemon, by status, and how many of its tasks run now.
    ``run_s``: how long its next run is expected to take, which is as long as the slowest of the last; ``None``: none
    has ended. ``timeout_s``: how long it may. ``name`` is empty for all tasks of actions that are not offered."""

    name: str
    success: int = 0
    error: int = 0
    limit: int = 0
    running: int = 0
    run_s: float | None = None
    timeout_s: float | None = None


class StatusReport(msgspec.Struct, frozen=True):
    """The state of one daemon. ``verdicts`` counts the tasks it has answered, by status; ``in_flight`` those it has
    not, of which ``backlog`` wait for a worker; ``outbox`` the results the hub has not accepted yet.
    ``joined``: tasks that the hub handed out again while they were under way, which ran once all the same.
    ``paused``: the actions that an operator has paused; their tasks are in flight, and not in the backlog.
    ``log_lines_lost``: lines of all its processes that were dropped, because nobody read them or they could not be
    written. ``replacements``: the last ones, newest first. ``ending_actions``: those whose last runs ended their
    worker, with how many in a row. ``workers_wanted``: how many workers there are to be, and
    ``workers_at_next_start`` how many the settings say; 0: not told. ``actions``: those that are offered.
    ``metrics``: where /metrics is served, as it stands in a URL; empty: nowhere."""

    provider: str
    version: str
    pid: int
    state: DaemonState
    uptime_s: float
    hub: str
    link: LinkStats
    workers: list[WorkerReport]
    in_flight: int
    backlog: int
    outbox: int
    outbox_limit: int
    verdicts: dict[str, int]
    log_lines_lost: int = 0
    replacements: list[Replacement] = []
    out_of_service: list[OutOfService] = []
    ending_actions: dict[str, int] = {}
    joined: int = 0
    workers_wanted: int = 0
    workers_at_next_start: int = 0
    paused: list[PausedAction] = []
    actions: list[ActionReport] = []
    metrics: str = ""


class NotableEvent(msgspec.Struct, frozen=True):
    """Something notable that happened ``ago_s`` seconds ago: a line of the daemon's log, by the name of its event.
    ``number``: later events have larger ones."""

    number: int
    ago_s: float
    level: str
    event: str
    fields: dict[str, Any] = {}


class ProcessStacks(msgspec.Struct, frozen=True):
    """The stacks of one process, as text; ``worker``: its slot, ``None`` for the supervisor and zygotes. ``trouble``:
    why there are none."""

    role: str
    pid: int
    worker: int | None
    text: str
    task: RunningTask | None = None
    trouble: str | None = None


class Operation(msgspec.Struct, frozen=True):
    """A command that takes longer than a moment. ``text`` says how far it is, or how it ended, for people; ``done`` of
    ``total`` steps are made, ``total`` is 0 where nobody can tell. ``data``: what it found, for programs."""

    id: int
    kind: str
    state: OperationState
    text: str
    done: int = 0
    total: int = 0
    data: Any = None


class Profile(msgspec.Struct, frozen=True):
    """What ``workers`` of ``of_workers`` were seen at, ``rate`` times a second each, for ``seconds``. ``samples``
    counts the stacks that belong to what was asked for; ``stacks`` are the most frequent of them, folded, with counts.
    ``troubles``: why some could not be seen; ``shared_with``: other actions whose handler is the same code."""

    workers: int
    of_workers: int
    rate: int
    seconds: float
    samples: int
    stacks: list[tuple[str, int]]
    troubles: list[str] = []
    shared_with: list[str] = []


class Holding(msgspec.Struct, frozen=True):
    """What one worker holds of a limit: calls ``granted`` to it so far, ``spent`` of them, and ``held``: granted,
    neither spent nor given back."""

    worker: int  # its slot
    granted: int
    spent: int
    held: int


class Rejection(msgspec.Struct, frozen=True):
    """A call that was turned away ``ago_s`` seconds ago and told to come back after ``wait_time`` seconds."""

    ago_s: float
    wait_time: float
    worker: int | None = None  # its slot


class LimitReport(msgspec.Struct, frozen=True):
    """The state of one rate limit. ``rule`` says in words what it allows, ``rate`` is that in calls per second over
    time (``None``: it does not count calls), ``usage`` how much of it is used now: 0 to 1, and above for a cost that
    overran. ``at_limit`` is what happens there: reject, wait or hold. ``last_rejections``: the last few, newest first.
    ``trouble``: why nothing more is let through by it for now; ``None``: nothing stands in the way."""

    name: str
    scope: LimitScope
    rule: str
    rate: float | None
    usage: float
    holdings: list[Holding]
    at_limit: str = "reject"
    rejections: int = 0
    last_rejections: list[Rejection] = []
    actions: list[str] = []  # those it applies to, where its scope is "action"
    trouble: str | None = None
