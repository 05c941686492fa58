"""The one place where a task gets its verdict: into the outbox, once, and the link is told.

A worker's answer passes as it came; a verdict of the supervisor's own (refused, timed out, lost, aborted) is encoded
here, in the same form.
"""

from __future__ import annotations

from arbd.core.outbox import Outbox
from arbd.encoding import Encoder
from arbd.hub.base import HubLink
from arbd.model import Outcome, Status, Task
from arbd.response import ProviderResponse


class Verdicts:
    """Gives verdicts. ``counts`` says how many of each status, since the start."""

    def __init__(self, outbox: Outbox, encoder: Encoder, link: HubLink) -> None:
        self._outbox = outbox
        self._encode = encoder.encode_any_size
        self._link = link
        self.counts: dict[Status, int] = {"success": 0, "error": 0, "limit": 0}

    @property
    def unsettled(self) -> int:
        """How many the hub has not yet accepted."""
        return len(self._outbox)

    def pass_on(self, task: Task, status: Status, result: bytes) -> None:
        """A worker's answer. The caller tells the link, once for many: ``announce``."""
        self._outbox.append(Outcome(task, status, result))
        self.counts[status] += 1

    def give(self, task: Task, response: ProviderResponse) -> None:
        """A verdict of the supervisor's own."""
        self.pass_on(task, response.status, self._encode(task.action, response))
        self.announce()

    def announce(self) -> None:
        """Tell the link that there is something to send."""
        self._link.results_ready()
