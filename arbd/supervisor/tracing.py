"""What the flight recorder holds, page by page, for who asks over the control socket.

A page is bounded, so that answering one holds no task up for long: who wants more asks again, from where this one
ended.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from arbd.control.protocol import GetTrace, TraceReply
from arbd.core.history import shown
from arbd.model.flight import Flight
from arbd.supervisor.flow import Flow

PAGE: Final = 500  # of each kind: a millisecond
_LONGEST_ID: Final = 1000


class Tracing:
    """Answers ``GetTrace``."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def page(self, request: GetTrace, provider: str) -> TraceReply:
        """The next page. ``provider``: the name of the daemon's."""
        recorder = self._flow.recorder
        flights = recorder.after(request.answered_after_ns, PAGE)
        acks = recorder.acks.after(request.acked_after_ns, PAGE)
        return TraceReply(
            provider=provider,
            now_ns=time.monotonic_ns(),
            now_unix_ns=time.time_ns(),
            total=self._flow.verdicts.total,
            flights=[_printable(flight) for flight in flights],
            acks=[(shown(task_id, _LONGEST_ID), at_ns) for task_id, at_ns in acks],
            running=self._running(),
            has_more=len(flights) >= PAGE or len(acks) >= PAGE,
        )

    def _running(self) -> list[Flight]:
        """What the workers run now; each has one task at most."""
        flow, found = self._flow, []
        for worker in flow.pool.workers.values():
            if not flow.dispatcher.has_worker(worker.id):
                continue
            begun = worker.cell.running()
            assignment = flow.dispatcher.outstanding(worker.id).get(begun.seq)
            if assignment is None or not begun.is_for(assignment.seq):
                continue
            task = assignment.task
            at = (assignment.taken_ns, assignment.sent_ns, begun.since_ns, 0, 0, 0)
            found.append(_printable(Flight(task.id, task.action, worker.slot, worker.pid, "", *at)))
        return found


def _printable(flight: Flight) -> Flight:
    """A copy whose id can be written to a terminal, and as JSON: a caller chose it."""
    return msgspec.structs.replace(flight, id=shown(flight.id, _LONGEST_ID))
