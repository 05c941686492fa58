"""Reading a daemon's flight recorder: what it holds, or what happens from now on for some seconds.

The recorder holds a thousand tasks, so it is read again and again while the time passes; what was overwritten
meanwhile is counted, not hidden. Once the time is over, acknowledgements of what was answered in it are waited for, a
moment. What is read is bounded: after ``MOST_TASKS`` the reading ends by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from arbd.control.protocol import GetTrace, TraceReply
from arbd.model.flight import Flight

MOST_TASKS: Final = 100_000  # some 80 MB of JSON, which a browser still opens
_PAUSE_S: Final = 0.02  # in which 50,000 tasks a second fill what the recorder holds
_SHORTEST_S: Final = 0.001
_ACKS_S: Final = 0.5
_NOW: Final = 2**62  # no moment of a monotonic clock comes after it: a page from there on is empty

Ask = Callable[[GetTrace], TraceReply]


class Recording(msgspec.Struct):
    """What was read. ``missed``: tasks answered in that time that were overwritten before they were read.
    ``is_cut``: there were more than ``MOST_TASKS``."""

    provider: str
    now_ns: int
    now_unix_ns: int
    flights: list[Flight]
    acks: list[tuple[str, int]]
    running: list[Flight]
    missed: int = 0
    is_cut: bool = False


class TraceReader:
    """Reads by asking. ``on_progress`` is told the seconds that have passed, and how many tasks there are."""

    def __init__(
        self,
        ask: Ask,
        *,
        on_progress: Callable[[float, int], None] = lambda passed_s, tasks: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask = ask
        self._on_progress = on_progress
        self._clock = clock
        self._sleep = sleep
        self._flights: list[Flight] = []
        self._acks: list[tuple[str, int]] = []
        self._answered_ns = self._acked_ns = 0

    def last(self) -> Recording:
        """What the recorder holds now."""
        return self._recording(self._read())

    def during(self, seconds: float) -> Recording:
        """What is answered from now on, for so long. Ctrl-C ends that sooner."""
        first = self._ask(GetTrace(answered_after_ns=_NOW, acked_after_ns=_NOW))
        self._answered_ns = self._acked_ns = first.now_ns
        begun, reply = self._clock(), first
        try:
            while (passed_s := self._clock() - begun) < seconds and len(self._flights) < MOST_TASKS:
                self._sleep(min(_PAUSE_S, max(_SHORTEST_S, seconds - passed_s)))
                reply = self._read()
                self._on_progress(min(seconds, self._clock() - begun), len(self._flights))
        except KeyboardInterrupt:
            reply = self._read()
        self._read_acks()
        recording = self._recording(reply)
        recording.missed = max(0, reply.total - first.total - len(self._flights))
        recording.is_cut = len(self._flights) >= MOST_TASKS
        return recording

    def _read(self) -> TraceReply:
        """All pages there are now; the last one."""
        while True:
            reply = self._page()
            self._flights += reply.flights
            if reply.flights:
                self._answered_ns = reply.flights[-1].answered_ns
            if not reply.has_more or len(self._flights) >= MOST_TASKS:
                return reply

    def _page(self) -> TraceReply:
        reply = self._ask(GetTrace(answered_after_ns=self._answered_ns, acked_after_ns=self._acked_ns))
        self._acks += reply.acks
        if reply.acks:
            self._acked_ns = reply.acks[-1][1]
        return reply

    def _read_acks(self) -> None:
        """Wait for the acknowledgements that are missing, a moment; what is answered meanwhile is left alone."""
        until = self._clock() + _ACKS_S
        self._answered_ns = _NOW
        while self._clock() < until and not {each.id for each in self._flights} <= {each for each, _ in self._acks}:
            if not self._page().has_more:
                self._sleep(_PAUSE_S)

    def _recording(self, reply: TraceReply) -> Recording:
        return Recording(
            reply.provider, reply.now_ns, reply.now_unix_ns, self._flights, self._acks, list(reply.running)
        )
