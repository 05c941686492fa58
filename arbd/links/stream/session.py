"""The provider's side of the stream: a state machine without sockets and without a clock.

    CLOSED ──open──> GREETING ──welcome──> OPEN          ``close`` leads back to CLOSED from anywhere
                     hello sent            frames both ways

One object lives as long as the link; it is opened for each stream anew. ``receive`` takes a frame and says what it
means; ``data_to_send`` gives everything that has piled up as one frame, or ``None``. Nothing else is ever due, except
what ``next_timeout`` announces. Times are seconds of one monotonic clock.

Invariants:

* a task is held until its result is acknowledged; handed out again meanwhile, it goes up again, where it joins the run
  under way, and its result answers for the newest attempt;
* an outcome is acknowledged in the outbox only when the hub has acknowledged the frame it was in; on ``close`` those
  that are not go back to the outbox, oldest first; whatever is raised in between, none is forgotten;
* the credit is what the hub has sent plus the slots that are free, so it never allows more than can start soon.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from arbd.core.outbox import Outbox
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Status, Task
from arbd.wire import stream_frames as frames
from arbd.wire.stream_frames import GoAway, Hello, HubFrame, StreamError, Welcome

HEARTBEAT_S: Final = 5.0  # a silent stream is tried this often; a dead connection is found, an idle daemon stays idle
PROBE_S: Final = 2.0  # a frame without results is answered at once: a hub that is silent for so long after it is gone
_OWN_S: Final = 0.5  # who looks so much later than it was to was not running, and has heard nothing for that reason
RENEWALS: Final = 3  # renewals in the time of one lease, so that one may fail
_MIN_TICK_S: Final = 0.05


class Identity(msgspec.Struct, frozen=True):
    """Who this provider is, the same on all its streams. ``max_frame``: the largest frame it takes, in bytes."""

    provider: str
    token: str
    session: str
    max_frame: int


class Received(NamedTuple):
    """What the link has to do after a frame of the hub."""

    tasks: Sequence[Task] = ()
    cancel: Sequence[str] = ()
    refused: Sequence[tuple[str, str]] = ()
    go_away: GoAway | None = None


NOTHING: Final = Received()


class ProviderPhase(enum.Enum):
    """The phase of a session."""

    CLOSED = "closed"
    GREETING = "greeting"
    OPEN = "open"


class ProviderSession:
    """The state machine of a provider on the stream.

    ``too_large`` makes the response that stands for a result too large for the hub, from its task, its size and the
    limit. ``answer_timeout_s``: a hub that leaves a frame with results unanswered for longer is taken for gone; one
    without any it has to answer within ``PROBE_S``, or to say something else.
    """

    def __init__(
        self,
        identity: Identity,
        outbox: Outbox,
        *,
        too_large: Callable[[Task, int, int], bytes],
        answer_timeout_s: float = 10.0,
    ) -> None:
        self.phase = ProviderPhase.CLOSED
        self.accepted = 0  # results the hub has taken over
        self.shortened = 0  # results that were replaced because they were too large
        self._identity = identity
        self._outbox = outbox
        self._too_large = too_large
        self._answer_timeout_s = answer_timeout_s
        self._held: dict[str, int] = {}  # attempt of each task that is not settled, by id
        self._unacked: deque[tuple[int, list[Outcome]]] = deque()
        self._stranded: list[Outcome] = []  # the outbox raised when they were put back
        self.is_stopping = False
        self._reset()

    def _reset(self) -> None:
        self._sent_seq = 0
        self._acked_seq = 0
        self._taken_seq = 0
        self._received = 0
        self._credit = 0
        self._highest_credit = 0
        self._stop_seq = 0
        self._actions: Sequence[ActionInfo] | None = None
        self._max_frame = 0
        self._tick_s = HEARTBEAT_S
        self._tick_at = math.inf
        self._tick_due = False
        self._asked_at = math.inf  # when the oldest frame that is not answered was sent, or the one before was answered
        self._heard_at = -math.inf

    # -- the life of a stream ------------------------------------------------------------------------------

    def open(self) -> None:
        """A new stream: its first frame is due."""
        self.close()
        self._reset()
        self.phase = ProviderPhase.GREETING

    def close(self) -> None:
        """The stream is over. What the hub has not acknowledged waits in the outbox again."""
        self.phase = ProviderPhase.CLOSED
        self._tick_at = self._asked_at = math.inf
        outcomes = [*self._stranded, *(outcome for _, sent in self._unacked for outcome in sent)]
        self._unacked.clear()
        self._stranded = []
        self._put_back(outcomes)

    def _put_back(self, outcomes: list[Outcome]) -> None:
        """Return them to the outbox. One that it does not take now is offered again the next time."""
        failure: Exception | None = None
        for outcome in reversed(outcomes):
            try:
                self._outbox.put_back(outcome)
            except Exception as error:
                failure = error
                self._stranded.append(outcome)
        if failure is not None:
            raise failure

    def renew(self, identity: Identity, answer_timeout_s: float) -> None:
        """Go by these: at once where it is a time, from the next stream on where it stands in the hello."""
        self._identity = identity
        self._answer_timeout_s = answer_timeout_s

    def stop_taking(self) -> None:
        """Give no more credit, on this stream or a later one, until ``take_again``."""
        self.is_stopping = True

    def take_again(self) -> None:
        """Give credit again."""
        self.is_stopping = False
        self._stop_seq = 0  # the next stop has to be told, too

    @property
    def is_quiet(self) -> bool:
        """After ``stop_taking``: whether no task can come any more."""
        told = self._stop_seq > 0 and (self._acked_seq >= self._stop_seq or self._stop_seq == 1)
        return self.is_stopping and (self.phase is ProviderPhase.CLOSED or told)

    @property
    def is_answered(self) -> bool:
        """Whether the stream is open, and the hub has acknowledged all that was sent: no frame is on its way."""
        return self.phase is ProviderPhase.OPEN and self._acked_seq == self._sent_seq

    @property
    def holding(self) -> int:
        """Tasks that are not settled."""
        return len(self._held)

    # -- frames in -----------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> Received:
        """Take a frame. Raises ``StreamError`` if the stream cannot go on."""
        frame = frames.decode_hub_frame(data, now)
        if self.phase is ProviderPhase.CLOSED or frame.seq <= self._taken_seq:
            return NOTHING  # a repetition
        if frame.seq != self._taken_seq + 1:
            raise StreamError(f"frame {frame.seq} came after frame {self._taken_seq}")
        self._heard_at = now
        self._greet(frame.welcome, now)
        self._taken_seq = frame.seq
        self._settle(frame.acked, now)
        return Received(self._take(frame), frame.cancel, frame.refused, frame.go_away)

    def _greet(self, welcome: Welcome | None, now: float) -> None:
        if (welcome is not None) != (self.phase is ProviderPhase.GREETING):
            raise StreamError("a stream begins with a welcome, and has no other")
        if welcome is None:
            return
        if welcome.version != frames.VERSION:
            raise StreamError(f"the hub speaks version {welcome.version} of the stream, not {frames.VERSION}")
        self.phase = ProviderPhase.OPEN
        self._max_frame = min(welcome.max_frame, frames.MAX_FRAME) or frames.USUAL_MAX_FRAME
        self._tick_s = max(_MIN_TICK_S, min(HEARTBEAT_S, welcome.lease_s / RENEWALS))
        self._tick_at = now + self._tick_s

    def _settle(self, acked: int, now: float) -> None:
        """The hub has taken over every frame up to number ``acked``."""
        if acked > self._sent_seq:
            raise StreamError(f"frame {acked} was acknowledged, and {self._sent_seq} were sent")
        if acked <= self._acked_seq:
            return
        self._acked_seq = acked
        self._asked_at = math.inf if acked == self._sent_seq else now
        unacked, held = self._unacked, self._held
        while unacked and unacked[0][0] <= acked:
            seq, outcomes = unacked.popleft()
            count = 0
            try:
                for outcome in outcomes:
                    self._outbox.ack(outcome, now)
                    held.pop(outcome.task.id, None)
                    count += 1
            except Exception:
                unacked.appendleft((seq, outcomes[count:]))  # these go back when the stream is closed
                raise
            finally:
                self.accepted += count

    def _take(self, frame: HubFrame) -> list[Task]:
        tasks = frame.tasks
        if not tasks:
            return tasks
        self._received += len(tasks)
        if self._received > self._highest_credit:
            raise StreamError(f"{self._received} tasks came, and the credit was {self._highest_credit}")
        held = self._held
        for task in tasks:
            held[task.id] = task.attempt
        return tasks

    # -- frames out ----------------------------------------------------------------------------------------

    def data_to_send(self, now: float, free_slots: int, actions: Sequence[ActionInfo]) -> bytes | None:
        """Everything that has piled up, as one frame; ``None`` if there is nothing to say.

        ``free_slots``: how many more tasks could start soon. ``actions``: told again when it is another object.
        """
        if self.phase is ProviderPhase.CLOSED or (self.phase is ProviderPhase.GREETING and self._sent_seq):
            return None
        greeting = self.phase is ProviderPhase.GREETING
        credit = 0 if self.is_stopping else self._received + free_slots
        results = [] if greeting else self._results()
        changed = actions is not self._actions
        must_tell = self._tick_due or credit != self._credit or (self.is_stopping and not self._stop_seq)
        if not (greeting or results or changed or must_tell):
            return None
        seq = self._sent_seq + 1
        data = frames.encode_provider_frame(
            seq,
            self._taken_seq,
            credit,
            hello=self._hello() if greeting else None,
            actions=actions if changed else None,
            results=results,
            renew=list(self._held) if self._tick_due else (),
        )
        self._note_sent(seq, credit, now)
        self._actions = actions
        return data

    def _note_sent(self, seq: int, credit: int, now: float) -> None:
        self._sent_seq = seq
        self._credit = credit
        self._highest_credit = max(self._highest_credit, credit)
        if self.is_stopping and self._stop_seq == 0:
            self._stop_seq = seq
        if self._asked_at == math.inf:
            self._asked_at = now
        if self._tick_due or self._tick_at == math.inf:
            self._tick_due = False
            self._tick_at = now + self._tick_s

    def _hello(self) -> Hello:
        who = self._identity
        return Hello(who.provider, who.token, who.session, who.max_frame, list(self._held))

    def _results(self) -> list[tuple[str, int, Status, bytes]]:
        """As many results as go into one frame."""
        take, attempt_of = self._outbox.take, self._held.get
        largest = self._max_frame - frames.FRAME_ROOM
        soft_limit = min(largest, frames.SOFT_LIMIT)
        size = 0
        results: list[tuple[str, int, Status, bytes]] = []
        outcomes: list[Outcome] = []
        self._unacked.append((self._sent_seq + 1, outcomes))  # before the first is taken: what is raised loses none
        while size < soft_limit and (outcome := take()) is not None:
            outcomes.append(outcome)
            task, status, result = outcome.task, outcome.status, outcome.result
            length = len(result) + len(task.id) + frames.ENTRY_ROOM
            if length > largest:
                status, result = "error", self._too_large(task, len(result), largest)
                length = len(result) + len(task.id) + frames.ENTRY_ROOM
                self.shortened += 1
            if results and size + length > largest:
                self._outbox.put_back(outcomes.pop())
                break
            size += length
            results.append((task.id, attempt_of(task.id, 0), status, result))
        if not outcomes:
            self._unacked.pop()
        return results

    # -- time ----------------------------------------------------------------------------------------------

    def next_timeout(self) -> float:
        """When ``on_time`` has something to do, at the earliest; infinity while closed."""
        return min(self._tick_at, self._answer_by())

    def _answer_by(self) -> float:
        """Until when the hub has to say something; infinity: it has answered everything. It may take its time for
        results, which it stores, and for a welcome unless nobody waits for that any more."""
        is_slow = self._unacked or (self.phase is ProviderPhase.GREETING and not self.is_stopping)
        if is_slow:
            return self._asked_at + self._answer_timeout_s
        return max(self._asked_at, self._heard_at) + min(PROBE_S, self._answer_timeout_s)

    def on_time(self, now: float) -> None:
        """Let time pass: renewals or a heartbeat may be due. Raises ``StreamError`` if the hub has fallen silent."""
        answer_by = self._answer_by()
        if now >= answer_by + _OWN_S:
            self._asked_at = now  # what the hub has said meanwhile is still to be read
        elif now >= answer_by:
            raise StreamError("the hub left a frame unanswered, and was silent")
        if now >= self._tick_at:
            self._tick_due = True
            self._tick_at = math.inf
