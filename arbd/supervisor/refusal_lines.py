"""Lines about tasks that were refused for what their caller sent, at most one a minute of each kind, and their counts.

Not the decision when a line is due (``arbd.core.refusals``): this is the clock, the timer and the log around it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from arbd.core.refusals import RefusalKind, RefusalLine, Refusals, kind_of
from arbd.logs import get_logger, task_fields
from arbd.model.response import ProviderResponse
from arbd.model.task import Task

_INVALID_HINT: Final = "the caller is told every error"


class RefusalLines:
    """What one daemon refused. ``counts``: of each kind since its start."""

    def __init__(self) -> None:
        self._refusals = Refusals()
        self._timer: asyncio.TimerHandle | None = None
        self._log = get_logger("arbd.flow")

    @property
    def counts(self) -> dict[RefusalKind, int]:
        """How many of each kind."""
        return self._refusals.counts

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refused(self, task: Task, response: ProviderResponse) -> None:
        """The supervisor has refused a task; not every refusal is its caller's fault."""
        kind = kind_of(response)
        if kind is not None:
            self._note(kind, task, response.message or "")

    def invalid(self, task: Task) -> None:
        """A worker has refused a task, whose payload or account does not fit the schema."""
        self._note("payload invalid", task, _INVALID_HINT)

    def _note(self, kind: RefusalKind, task: Task, reason: str) -> None:
        line = self._refusals.note(
            kind,
            task.action,
            task.id,
            reason,
            time.monotonic_ns(),
            attempt=task.attempt,
            traceparent=task.traceparent,
        )
        if line is not None:
            self._write(line)
        elif self._timer is None:
            self._arm()

    def _arm(self) -> None:
        due_ns = self._refusals.next_due_ns()
        if due_ns is not None:
            delay_s = max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        try:
            for line in self._refusals.due(time.monotonic_ns()):
                self._write(line)
        finally:
            self._arm()

    def _write(self, line: RefusalLine) -> None:
        fields = task_fields(line.task_id, line.action, line.traceparent, line.attempt)
        more = {"times": line.times} if line.times > 1 else {}
        self._log.warning("task_refused", kind=line.kind, **fields, reason=line.reason, **more)
