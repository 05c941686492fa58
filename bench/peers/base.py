"""What a peer is, seen from the measurement: something that is started, given calls, and asked for their results.

    start -> send ─ticket─> collect -> ... -> stop          one peer at a time; ``stop`` also after a failed ``start``

A peer's files lie in the directory it is started with; ``BENCH_PEERS_DIR`` in the environment names it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

WORKERS: Final = 2
TRIVIAL: Final[Mapping[str, Any]] = {"symbol": "EURUSD", "quantity": 12.5, "tags": ["a", "b"]}
"""The arguments of ``quote``, ``tally`` and ``discard``."""
LIMIT_S: Final = 0.5
"""The time limit of the actions that hang."""
NO_LIMIT_S: Final = 60
"""The time limit of all others, where a peer has one: on, and never reached."""


class TaskFailed(Exception):
    """A peer answered a task with an error."""


class Peer(ABC):
    """One contender. Actions are those of ``bench.peers.actions``, by name."""

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]  # distributions whose versions belong to the row
    settings: ClassVar[str]
    """How it runs here, for the table's notes."""
    has_broker: ClassVar[bool] = False
    """Tasks wait in a server of their own, for any process that asks; otherwise in the caller's memory."""
    limit_s: ClassVar[float | None] = LIMIT_S
    """The time limit it enforces on ``hang_*``; None: it has none."""
    can_meet: ClassVar[bool] = True
    """Tasks sent together go to different workers, if these are free; otherwise one watches the process that hung."""
    can_pause: ClassVar[bool] = True
    """Its processes can be stopped while its queue is filled."""
    is_tallied: ClassVar[bool] = True
    """``tally`` says more than ``quote``: a caller can leave its results where they are kept."""
    can_discard: ClassVar[bool] = False
    """It has a mode without results, in which ``discard`` runs."""
    broker_pid: int | None = None

    @abstractmethod
    def start(self, place: Path) -> None:
        """Start everything; tasks sent from now on are run, at the latest when the workers are up."""

    @abstractmethod
    def stop(self) -> None:
        """End every process. Nothing is waited for: what remains is killed by whoever runs the turn."""

    @abstractmethod
    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        """Send so many equal tasks, each as one; a ticket for ``collect``."""

    @abstractmethod
    def collect(self, ticket: Any, timeout_s: float) -> None:
        """Return when every result of the ticket is in this process, by the peer's own means.

        Raises ``TaskFailed`` if a task was answered with an error, ``TimeoutError`` if one is not answered in time.
        """

    def expire(self, ticket: Any) -> None:  # noqa: B027 # most have limits of their own, and do nothing here
        """The time limit of the ticket's one task is over: for peers whose caller has to end it."""

    def inner_s(self) -> list[float]:
        """How long each task of the last ``collect`` took by the broker's own clock, where it has one."""
        return []
