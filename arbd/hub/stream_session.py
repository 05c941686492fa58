"""The hub's side of one stream: a state machine without sockets and without a clock.

    EXPECTING ──hello──> OPEN ──go_away──> LEAVING
                          frames both ways   acknowledgements only

Not the tasks: which ones go out, and what becomes of results, is ``desk`` and ``board``. An object lives as long as its
stream; what a provider has beyond that is kept at the desk. Times are seconds of one monotonic clock.

Invariants: tasks sent never exceed the credit that was known when their frame was made; a frame is acknowledged only
after it has been given to the caller, who settles it before the next ``data_to_send``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from arbd.model.task import Task
from arbd.wire import stream_frames as frames
from arbd.wire.stream_frames import GoAway, ProviderFrame, StreamError, Welcome


class HubPhase(enum.Enum):
    """The phase of a stream, as the hub sees it."""

    EXPECTING = "expecting"
    OPEN = "open"
    LEAVING = "leaving"


class HubSession:
    """The hub's side of one stream of one provider. ``lease_s`` and ``max_frame`` are told in the welcome."""

    def __init__(self, *, lease_s: float, max_frame: int) -> None:
        self.phase = HubPhase.EXPECTING
        self._welcome: Welcome | None = Welcome(frames.VERSION, lease_s, max_frame)
        self._go_away: GoAway | None = None
        self._cancel: list[str] = []
        self._refused: list[tuple[str, str]] = []
        self._credit = 0
        self._sent = 0  # tasks
        self._sent_seq = 0
        self._taken_seq = 0
        self._acknowledged = 0  # the number that was told last

    @property
    def room(self) -> int:
        """How many tasks may be sent now."""
        return max(0, self._credit - self._sent) if self.phase is HubPhase.OPEN else 0

    def receive(self, data: bytes) -> ProviderFrame | None:
        """Take a frame; ``None`` for a repetition. Raises ``StreamError`` if the stream cannot go on."""
        frame = frames.decode_provider_frame(data)
        if frame.seq <= self._taken_seq:
            return None
        if frame.seq != self._taken_seq + 1:
            raise StreamError(f"frame {frame.seq} came after frame {self._taken_seq}")
        if (frame.hello is not None) != (self.phase is HubPhase.EXPECTING):
            raise StreamError("a stream begins with a hello, and has no other")
        if frame.acked > self._sent_seq:
            raise StreamError(f"frame {frame.acked} was acknowledged, and {self._sent_seq} were sent")
        if frame.hello is not None:
            self.phase = HubPhase.OPEN
        self._taken_seq = frame.seq
        self._credit = frame.credit
        return frame

    def cancel(self, task_id: str) -> None:
        """Have the provider told that nobody wants the result of this task."""
        self._cancel.append(task_id)

    def refuse(self, task_id: str, reason: str) -> None:
        """Have the provider told that its result can never be accepted."""
        self._refused.append((task_id, reason))

    def go_away(self, go_away: GoAway) -> None:
        """Send no more tasks; have the provider end this stream."""
        if self.phase is HubPhase.OPEN:
            self.phase = HubPhase.LEAVING
            self._go_away = go_away

    def data_to_send(self, now: float, tasks: Sequence[Task] = ()) -> bytes | None:
        """Everything that has piled up and ``tasks`` (at most ``room``), as one frame; ``None``: nothing to say."""
        if self.phase is HubPhase.EXPECTING:
            return None
        if len(tasks) > self.room:
            raise ValueError(f"{len(tasks)} tasks, and room for {self.room}")
        if not (
            tasks or self._taken_seq > self._acknowledged or self._cancel or self._refused or self._go_away is not None
        ):
            return None
        self._sent_seq += 1
        self._sent += len(tasks)
        self._acknowledged = self._taken_seq
        data = frames.encode_hub_frame(
            self._sent_seq,
            self._taken_seq,
            now,
            welcome=self._welcome,
            tasks=tasks,
            cancel=self._cancel,
            refused=self._refused,
            go_away=self._go_away,
        )
        self._welcome = self._go_away = None
        self._cancel, self._refused = [], []
        return data
