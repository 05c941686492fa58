"""The one place where a task gets its verdict: into the outbox, once, and the link is told.

A worker's answer passes as it came; a verdict of the supervisor's own (refused, timed out, lost, aborted) is encoded
here, in the same form. A verdict that the outbox does not take is kept here and offered to it again: it is not lost,
and its task gets no other one.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from arbd.core.outbox import Outbox
from arbd.links.base import HubLink
from arbd.logs import get_logger
from arbd.model.encoding import Encoder
from arbd.model.response import ProviderResponse
from arbd.model.task import Outcome, Status, Task

_RETRY_S: Final = 0.05


class Verdicts:
    """Gives verdicts. ``counts`` says how many of each status, since the start."""

    def __init__(self, outbox: Outbox, encoder: Encoder, link: HubLink) -> None:
        self._outbox = outbox
        self._encode = encoder.encode_any_size
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.verdicts")
        self._kept: list[Outcome] = []  # the outbox did not take them
        self.counts: dict[Status, int] = {"success": 0, "error": 0, "limit": 0}

    @property
    def unsettled(self) -> int:
        """How many the hub has not yet accepted."""
        return len(self._outbox) + len(self._kept)

    def pass_on(self, task: Task, status: Status, result: bytes) -> None:
        """A worker's answer. The caller tells the link, once for many: ``announce``."""
        outcome = Outcome(task, status, result)
        self.counts[status] += 1
        try:
            self._outbox.append(outcome)
        except BaseException as error:
            self._keep(outcome)
            if not isinstance(error, OSError):
                raise
            self._log.warning("result_put_off", task_id=task.id, reason=str(error))

    def decide(self, task: Task, response: ProviderResponse) -> None:
        """A verdict of the supervisor's own; the caller announces it, once for many."""
        try:
            result = self._encode(task.action, response)
        except BaseException:  # a bug in there must not cost the task its verdict
            self.pass_on(task, response.status, msgspec.json.encode(response))
            raise
        self.pass_on(task, response.status, result)

    def give(self, task: Task, response: ProviderResponse) -> None:
        """A verdict of the supervisor's own, and the link is told."""
        self.decide(task, response)
        self.announce()

    def announce(self, *, slots_changed: bool = False) -> None:
        """Tell the link that there is something to send, and perhaps that more tasks could start now."""
        try:
            if self._kept:
                self.save_kept()
        finally:
            self._link.results_ready()
            if slots_changed:
                self._link.slots_changed()

    def save_kept(self) -> None:
        """Offer the outbox once more what it has not taken."""
        kept, self._kept = self._kept, []
        while kept:
            try:
                self._outbox.append(kept[0])
            except OSError:
                break
            except BaseException:
                self._kept += kept
                raise
            del kept[0]
        for outcome in kept:
            self._keep(outcome)

    def has_kept(self, task: Task) -> bool:
        """Whether this task's verdict is kept here."""
        return any(outcome.task is task for outcome in self._kept)

    def _keep(self, outcome: Outcome) -> None:
        if not self._kept:
            self._loop.call_later(_RETRY_S, self.announce)
        self._kept.append(outcome)
