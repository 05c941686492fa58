"""What a run of the peers writes down: samples by peer and round, and under what conditions. Values only."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

Stage = Literal["speed", "hang_python", "hang_c"]
_FAILURES: Final = 2  # each may take as long as one waits for the first task
KILLS: Final[tuple[Stage, ...]] = ("hang_python", "hang_c")


class Spans(msgspec.Struct, frozen=True):
    """How long each part of a turn takes, about. Seconds."""

    queue_s: float
    burn_s: float
    ones_s: float
    patience_s: float = 10.0
    most_tasks: int = 100_000


FULL: Final = Spans(queue_s=1.5, burn_s=1.5, ones_s=1.0)
SHORT: Final = Spans(queue_s=0.2, burn_s=0.2, ones_s=0.2, patience_s=4.0)


class Job(msgspec.Struct, frozen=True):
    """One turn: whose, what, how much work takes 5 ms, and for how long."""

    peer: str
    stage: Stage
    work: int
    spans: Spans
    place: str


class About(msgspec.Struct, frozen=True):
    """What does not change from turn to turn."""

    title: str
    settings: str
    versions: dict[str, str]
    has_broker: bool
    limit_s: float | None


class Speed(msgspec.Struct, frozen=True):
    """One turn's figures.

    Rates: tasks per second until the caller has all results; until all have run and their results are kept; until all
    have run without results. CPU: microseconds per trivial task, of all processes, and the caller's and the broker's
    part of it. ``share``: calls of 5 ms per second, of those that as many bare processes make. ``inner``: by the
    broker's own clock.
    """

    tasks: int
    rate: float
    rate_unawaited: float | None
    rate_discarded: float | None
    cpu_us: float
    cpu_caller_us: float
    cpu_broker_us: float
    ones: int
    p50_us: float
    p99_us: float
    inner_p50_us: float | None
    share: float
    bare_calls_per_s: float


class Kill(msgspec.Struct, frozen=True):
    """Milliseconds after the time limit until the caller has the error, and until all workers run tasks again.

    None: not within the patience."""

    answered_ms: float | None
    back_ms: float | None


class Turn(msgspec.Struct, frozen=True):
    """What a turn's process says last. ``failed``: what went wrong, in one sentence; empty if nothing did. ``foreign``:
    the part of all CPUs that others took meanwhile, noted by whoever ran the turn."""

    about: About | None = None
    speed: Speed | None = None
    kill: Kill | None = None
    failed: str = ""
    foreign: float = 0.0


class Row(msgspec.Struct):
    """Everything about one peer. ``foreign``: the other load during each of its speeds."""

    name: str
    about: About | None = None
    speeds: list[Speed] = []
    kills: dict[Stage, list[Kill]] = {}
    failures: list[str] = []
    foreign: list[float] = []

    def samples(self, of: Callable[[Speed], float | None]) -> list[float]:
        """One quantity, round by round."""
        return [value for value in map(of, self.speeds) if value is not None]

    def median(self, of: Callable[[Speed], float | None]) -> float | None:
        """Its median over the rounds; None: never measured."""
        found = self.samples(of)
        return statistics.median(found) if found else None

    def is_over(self, stage: Stage) -> bool:
        """Whether a further turn of this stage can tell nothing new, or will fail like those before."""
        if len(self.failures) >= _FAILURES:
            return True
        if stage == "speed" or self.about is None:
            return False
        return self.about.limit_s is None or any(kill.back_ms is None for kill in self.kills.get(stage, ()))


class Record(msgspec.Struct):
    """One run: the machine, the spans, the work, the rows."""

    machine: dict[str, str]
    rounds: int
    spans: Spans
    work: int
    rows: list[Row]


def best_broker(rows: Sequence[Row], of: Callable[[Speed], float | None]) -> Row | None:
    """The fastest of those with a broker that are not arbd."""
    rivals = [row for row in rows if row.about and row.about.has_broker and not row.name.startswith("arbd")]
    return max(rivals, key=lambda row: row.median(of) or 0.0, default=None)
