"""``/status.json``: what the status page shows, as one JSON document. Pure.

::

    {"at": 1790000000.4, "age_s": 0.4,     when the supervisor last said how it is (seconds since 1970), how long ago
     "problems": ["…"],                    why it takes no tasks, as /readyz says; none: it does
     "status": {…},                        the StatusReport of `arbd status --json`
     "limits": […], "events": […],         limits with what they let through; notable events, oldest first
     "is_shortened": false,                true: there are too many actions, limits or events to be told; none is
     "history": [{"at": …}, …],            a point for each 2 s of the last 10 min (``arbd.control.recent``)
     "actions": [{"name": …}, …]}          rates and percentiles of each action over the last 20 s

Before the supervisor has said anything, ``at``, ``age_s`` and ``status`` are null, and ``problems`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from arbd.control.exposition import Footprint
from arbd.control.probes import Verdict
from arbd.control.recent import ActionReading, Reading, Recent
from arbd.control.snapshot import Snapshot
from arbd.ipc import metrics_page as page
from arbd.ipc.metrics_page import ActionRow
from arbd.model.reasons import NUMBER_OF
from arbd.printable import printable_json_bytes

CONTENT_TYPE: Final = "application/json"
BOUNDS_S: Final = tuple(2**bits / 1e9 for bits in range(page.BUCKETS))
"""The upper ends of the buckets of a row."""

_TIMEOUTS: Final = page.FAILURES + NUMBER_OF["timeout"]


def reading(at_ns: int, snapshot: Snapshot, rows: Sequence[ActionRow]) -> Reading:
    """The counters that were written at ``at_ns`` (CLOCK_MONOTONIC): the supervisor's moment, and not that of whoever
    reads them, because what is written once a second and read every two would show rates that swing by half."""
    status = snapshot.status
    return Reading(
        at_s=at_ns / 1e9,
        unix_s=snapshot.at,
        actions={row.name: _action(row) for row in rows},
        end_to_end=[sum(counts) for counts in zip(*map(_end_to_end, rows), strict=True)],
        busy_s={worker.pid: worker.busy_s for worker in status.workers if worker.pid},
        in_flight=status.in_flight,
        outbox=status.outbox,
    )


def _action(row: ActionRow) -> ActionReading:
    outcomes = {status: row.count(status) for status in page.OF_STATUS}
    return ActionReading(outcomes, row.words[_TIMEOUTS], row.buckets(page.RUN), row.buckets(page.WAIT))


def _end_to_end(row: ActionRow) -> list[int]:
    return [sum(counts) for counts in zip(*(row.buckets(at) for at in page.OF_STATUS.values()), strict=True)]


def encode(
    snapshot: Snapshot | None, age_s: float, ready: Verdict, recent: Recent, holds: Mapping[int, Footprint]
) -> bytes:
    """The document. ``holds``: what the processes of workers hold, by pid."""
    said: dict[str, Any] = {
        "at": None,
        "age_s": None,
        "status": None,
        "limits": [],
        "events": [],
        "is_shortened": False,
    }
    if snapshot is not None:
        workers = [
            msgspec.structs.replace(worker, rss=held.rss, descriptors=held.descriptors)
            for worker in snapshot.status.workers
            for held in [holds.get(worker.pid, Footprint())]
        ]
        said["at"], said["age_s"] = snapshot.at, age_s
        said["status"] = msgspec.structs.replace(snapshot.status, workers=workers)
        said["limits"], said["events"], said["is_shortened"] = snapshot.limits, snapshot.events, snapshot.is_shortened
    problems = [] if ready.is_good else list(ready.lines)
    past = {"history": list(recent.points), "actions": recent.actions()}
    return printable_json_bytes(msgspec.json.encode({**said, "problems": problems, **past}))
