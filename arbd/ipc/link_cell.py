"""A link cell: the memory shared by the supervisor and one link process, with control words, a ring up and a ring down.

Not an owner of the memory, and no doorbell: as with ``arbd.ipc.cell`` both belong to others.

Each side has one word that counts how often it *went to sleep*. A side that has published something rings only if the
other has gone to sleep since it was rung last:

    publisher: store ─> fence ─> sleeps != rung_for? ─> rung_for = sleeps, ring
    sleeper:   look until there is nothing ─> sleeps + 1 ─> fence ─> look once more ─> event loop

Either the publisher sees the new count, or the sleeper's last look sees what was published. Compared with a flag
"asleep" this saves the rings for a side that was rung and has not looked yet, as a busy side often has not.
"""

from __future__ import annotations

from typing import Final

from arbd.errors import InvariantError
from arbd.ipc import layout
from arbd.ipc.ring import ByteStore, Consumer, Producer

NEVER: Final = (1 << 64) - 1


class SupervisorEnd:
    """The supervisor's side of a link cell: pops tasks, pushes results, and sets how many tasks the link may ask for.
    It never reads a word of its own back: a link that has gone wrong may have written there."""

    __slots__ = ("_allowed", "_rung_for", "_sleeps", "_words", "down", "is_held", "up")

    def __init__(self, store: ByteStore, words: memoryview, ring_bytes: int) -> None:
        words[layout.MAGIC] = layout.LINK_MAGIC_VALUE
        words[layout.VERSION] = layout.LAYOUT_VERSION
        words[layout.RING_SIZE] = ring_bytes
        self._words = words
        self._rung_for = 0
        self._allowed = 0
        self._sleeps = 0
        self.is_held = False
        up_at, down_at = layout.PAGE_BYTES, layout.PAGE_BYTES + ring_bytes
        self.up = Consumer(store, words, up_at, ring_bytes, tail_word=layout.UP_TAIL, head_word=layout.UP_HEAD)
        self.down = Producer(store, words, down_at, ring_bytes, tail_word=layout.DOWN_TAIL, head_word=layout.DOWN_HEAD)
        self.sleep()

    def allow(self, tasks: int) -> None:
        """Set how many tasks the link may have pushed in all."""
        self._allowed = tasks
        self._words[layout.ALLOWED] = tasks

    def hold(self, held: bool) -> None:
        """Set whether the link may make no calls."""
        self.is_held = held
        self._words[layout.HELD] = held

    def stop(self, number: int) -> None:
        """Tell the link to poll no more, and to say so under this number; 0: to poll again."""
        self._words[layout.STOPPING] = number

    def flush(self) -> None:
        """Tell the link to send at once what it has put aside."""
        self._words[layout.FLUSHING] = 1

    def sleep(self) -> None:
        """Announce sleep: a fence and one more look at ``up`` must follow."""
        self._sleeps += 1
        self._words[layout.SUPERVISOR_SLEEPS] = self._sleeps

    def must_ring(self, pushed: bool) -> bool:
        """Whether the link must be rung now; it then counts as rung. Call it only after a fence. ``pushed``: there is
        something for it, other than that it may ask for more."""
        sleeps = self._words[layout.LINK_SLEEPS]
        if sleeps == self._rung_for or not (pushed or self._allowed > self._words[layout.RING_ABOVE]):
            return False
        self._rung_for = sleeps
        return True

    def sleeps(self) -> int:
        """How often the link went to sleep; 0: it has not looked around yet."""
        return int(self._words[layout.LINK_SLEEPS])

    def is_awake(self) -> bool:
        """Whether the link has not slept since it was rung: it is about to look, or waits for a moment, or hangs."""
        return bool(self._words[layout.LINK_SLEEPS] == self._rung_for)

    def token_calls(self) -> tuple[int, int]:
        """How often the hub was found to accept the token, and how often it refused it. Accepted counts once each time
        after it was not known or refused."""
        return int(self._words[layout.TOKEN_ACCEPTED]), int(self._words[layout.TOKEN_REFUSED])

    def figures(self) -> tuple[int, list[int]]:
        """The number of the connection's state, and the counters."""
        counters = self._words[layout.COUNTERS : layout.COUNTERS + layout.COUNTER_WORDS].tolist()
        return int(self._words[layout.LINK_STATE]), counters


class LinkEnd:
    """The link's side of a link cell. ``longest``: bytes of the longest record that travels in a ring."""

    __slots__ = ("_rung_for", "_words", "down", "longest", "up")

    def __init__(self, store: ByteStore, words: memoryview) -> None:
        if words[layout.MAGIC] != layout.LINK_MAGIC_VALUE or words[layout.VERSION] != layout.LAYOUT_VERSION:
            raise InvariantError("the shared memory is no link cell of this version of arbd")
        ring_bytes = int(words[layout.RING_SIZE])
        self._words = words
        self._rung_for = 0
        self.longest = layout.largest_record(ring_bytes)
        up_at, down_at = layout.PAGE_BYTES, layout.PAGE_BYTES + ring_bytes
        self.up = Producer(store, words, up_at, ring_bytes, tail_word=layout.UP_TAIL, head_word=layout.UP_HEAD)
        self.down = Consumer(store, words, down_at, ring_bytes, tail_word=layout.DOWN_TAIL, head_word=layout.DOWN_HEAD)

    @property
    def allowed(self) -> int:
        """How many tasks the link may have pushed in all, at this moment."""
        return int(self._words[layout.ALLOWED])

    @property
    def is_held(self) -> bool:
        """Whether the link may make no calls."""
        return bool(self._words[layout.HELD])

    @property
    def stop_number(self) -> int:
        """The number of the stop for which the link is to poll no more; 0: it may poll."""
        return int(self._words[layout.STOPPING])

    @property
    def is_flushing(self) -> bool:
        """Whether the link is to send at once what it has put aside."""
        return bool(self._words[layout.FLUSHING])

    def ring_above(self, tasks: int) -> None:
        """Ask to be rung when more than ``tasks`` are allowed: a fence and one more look at ``allowed`` must follow."""
        self._words[layout.RING_ABOVE] = tasks

    def sleep(self) -> None:
        """Announce sleep: a fence and one more look at ``down`` must follow."""
        self._words[layout.LINK_SLEEPS] += 1

    def must_ring(self) -> bool:
        """Whether the supervisor must be rung now; it then counts as rung. Call it only after a fence."""
        sleeps = self._words[layout.SUPERVISOR_SLEEPS]
        if sleeps == self._rung_for:
            return False
        self._rung_for = sleeps
        return True

    def report_token(self, accepted: int, refused: int) -> None:
        """Publish how often the hub was found to accept the token, and how often it refused it."""
        self._words[layout.TOKEN_ACCEPTED] = accepted
        self._words[layout.TOKEN_REFUSED] = refused

    def report(self, state: int, counters: list[int]) -> None:
        """Publish the number of the connection's state, and the counters."""
        words = self._words
        words[layout.LINK_STATE] = state
        for number, counter in enumerate(counters):
            words[layout.COUNTERS + number] = counter
