"""The two interfaces between a hub link and the supervisor: ``HubLink`` and ``HubPort``.

A link owns *how* tasks and results travel; the supervisor owns *how many* tasks may come (``free_slots``) and *which*
results go (the outbox).

        hub ──task──> link ──── take(tasks) ──> supervisor          at most ``free_slots()`` more at a time
        hub ─cancel─> link ──── cancel(ids) ──> supervisor          only where the protocol has it
        hub <─result─ link <── outbox.take() ── supervisor          ``results_ready()`` says there is one

    made ── start(port) ──> takes and sends ── stop_taking() ──> sends ── flush() ──> close() ──> ended

Everything happens on the event loop that ``start`` ran on. What is not a coroutine neither blocks nor waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from arbd.core.outbox import Outbox
from arbd.model.description import ActionInfo
from arbd.model.link_stats import LinkStats
from arbd.model.task import Task

OVERDUE_S: Final = 5.0
"""What should have happened so long ago does not happen any more; longer than a channel takes to close."""


class LinkProcesses(Protocol):
    """The processes of a link; they ring the supervisor's doorbell when they have brought something."""

    @property
    def have_slots(self) -> bool:
        """Whether each of them may ask for as many tasks as keep it busy."""

    def look(self) -> int:
        """Take what they have brought; how many tasks and acknowledgements. Called whenever the supervisor looks."""

    def ring_from_now_on(self) -> None:
        """The supervisor is about to sleep: have them ring. A fence and one more look follow."""


class HubPort(Protocol):
    """What the supervisor offers a link."""

    @property
    def outbox(self) -> Outbox:
        """Results for the hub. Each one taken is acknowledged or put back, whatever becomes of it."""

    @property
    def actions(self) -> Sequence[ActionInfo]:
        """What can be run. Another object whenever it has changed."""

    def free_slots(self) -> int:
        """How many more tasks could start soon, beyond the link's polls under way and tasks it has not yet handed
        over."""

    def take(self, tasks: Sequence[Task]) -> None:
        """Take tasks over, in their order. Each id gets exactly one outcome, also if this raises: a task whose id is
        under way, or whose outcome waits, joins that one, and what is sent for it answers for both."""

    def note_lease(self, lease_s: float) -> None:
        """So long the hub waits for a task that it has handed out, and nobody can renew that; then it hands it out
        again. Told where the hub tells it."""

    def cancel(self, task_ids: Sequence[str]) -> None:
        """Nobody wants these results any more, however often they were handed out. Each id still gets its outcome; one
        that is not known is ignored."""

    def join(self, processes: LinkProcesses) -> int:
        """Have processes of this link looked at whenever the supervisor is awake; the doorbell that they ring."""

    def leave(self, processes: LinkProcesses) -> None:
        """The opposite of ``join``."""


class LinkHealth(NamedTuple):
    """What one look at a link finds: what of it is ``overdue``, in words, so that it does not go on by itself; and
    whether it ``may_send``: a result that waits could go out at once, and nothing but the link's own work is missing.
    A hub that does not answer is neither: the link tries again."""

    overdue: str = ""
    may_send: bool = False


class HubLink(Protocol):
    """The daemon's connection to a hub.

    Nothing but ``start`` raises: what a port or an outbox raises goes to the loop's exception handler
    (``arbd.supervised``), no result is lost by it, and polls and results of others go on. A port that raises when it
    was given tasks is taken to have them.
    """

    @property
    def sends_one_by_one(self) -> bool:
        """Whether each result is a call of its own, so that a busy hub makes results wait for each other anyway;
        ``False``: any number of them goes at once."""

    @property
    def stats(self) -> LinkStats:
        """What it has counted, and the state it is in."""

    def health(self, now: float) -> LinkHealth:
        """What a look at it finds, made each second or so; ``now`` in seconds of the monotonic clock."""

    async def start(self, port: HubPort) -> None:
        """Begin to take tasks and send results. Returns at once; a hub that is down is no error.

        Raises ``OSError`` if there is no descriptor or no thread left to begin with.
        """

    def slots_changed(self) -> None:
        """More slots may be free than before: poll again if polls had stopped for want of them."""

    def results_ready(self) -> None:
        """The outbox has something to take."""

    async def stop_taking(self) -> None:
        """Start no more polls, and return when every poll under way has been answered.

        A poll is never cancelled: its reply may carry a task, and that task would be lost.
        Tasks that arrive meanwhile still go to ``HubPort.take``.
        """

    async def flush(self, timeout: float) -> bool:
        """Wait until the outbox is empty, at most ``timeout`` seconds; ``True`` if it is."""

    async def close(self) -> None:
        """Let the connection go, in bounded time. Results still in the outbox stay there; what a link is told after
        that has no effect."""
