"""What a hub link and the daemon are to each other.

A link owns *how* tasks and results travel; the daemon owns *how many* tasks may come (``free_slots``) and *which*
results go (the outbox).

        hub ──task──> link ── on_tasks(tasks) ─> daemon             at most ``free_slots()`` more at a time
        hub ─cancel─> link ── on_cancel(ids) ──> daemon             only where the protocol has it
        hub <─result─ link <── outbox.take() ─── daemon             ``results_ready()`` says there is one

    made ── start(port) ──> takes and sends ── stop_taking() ──> sends ── flush() ──> close() ──> ended

Everything happens on the event loop that ``start`` ran on. What is not a coroutine neither blocks nor waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from arbd.core.outbox import Outbox
from arbd.links.stats import LinkStats
from arbd.model.description import ActionInfo
from arbd.model.task import Task


class HubPort(Protocol):
    """What the daemon offers a link."""

    @property
    def outbox(self) -> Outbox:
        """Results for the hub. Each one taken is acknowledged or put back, whatever becomes of it."""

    @property
    def actions(self) -> Sequence[ActionInfo]:
        """What can be run. Another object whenever it has changed."""

    def free_slots(self) -> int:
        """How many more tasks could start soon, beyond the link's polls under way and tasks it has not yet handed
        over."""

    def has_idle_worker(self) -> bool:
        """Whether some worker has nothing to do at this moment."""

    def on_tasks(self, tasks: Sequence[Task]) -> None:
        """Take tasks over, in their order. Each gets exactly one outcome, also if this raises."""

    def on_cancel(self, task_ids: Sequence[str]) -> None:
        """Nobody wants these results any more. Each task still gets its outcome; an id that is not known is ignored."""


PATIENCE_S: Final = 0.001  # the shortest uvloop can measure


class HubLink(Protocol):
    """A connection to a hub.

    Nothing but ``start`` raises: what a port or an outbox raises goes to the loop's exception handler
    (``arbd.supervised``), no result is lost by it, and polls and results of others go on.
    """

    @property
    def stats(self) -> LinkStats:
        """What it has counted, and the state it is in."""

    @property
    def patience_s(self) -> float:
        """How long results may wait for each other while the hub is busy with earlier ones; 0 = not at all, because
        one link sends any number of them at once."""

    async def start(self, port: HubPort) -> None:
        """Begin to take tasks and send results. Returns at once; a hub that is down is no error.

        Raises ``OSError`` if there is no descriptor or no thread left to begin with.
        """

    def slots_changed(self) -> None:
        """More slots may be free than before: poll again if polls had stopped for want of them. Also told whenever the
        supervisor has just woken up under load: the moment to look at what came meanwhile."""

    def results_ready(self) -> None:
        """The outbox has something to take."""

    async def stop_taking(self) -> None:
        """Start no more polls, and return when every poll under way has been answered.

        A poll is never cancelled: its reply may carry a task, and that task would be lost. Tasks that arrive meanwhile
        still go to ``on_tasks``.
        """

    async def flush(self, timeout: float) -> bool:
        """Wait until the outbox is empty, at most ``timeout`` seconds; ``True`` if it is."""

    async def close(self) -> None:
        """Let the connection go, in bounded time. Results still in the outbox stay there; what a link is told after
        that has no effect."""
