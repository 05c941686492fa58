"""What a hub link counts. Read by metrics and the control socket; written by the link alone."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

LinkState = Literal["connecting", "up", "down", "refused"]


class LinkStats(msgspec.Struct):
    """Counters since the start. ``failures`` by method and gRPC status, such as ``GetTask UNAVAILABLE``.

    ``submits`` counts calls, ``accepted`` results; ``shortened`` of them went without their payload or as an error
    that says they were too large. ``reconnects``: connections given up because they were silent. ``frames_in`` and
    ``frames_out``: messages on streams. ``protocol``: what is spoken now, ``unary`` or ``stream``.
    """

    polls: int = 0
    empty: int = 0
    tasks: int = 0
    submits: int = 0
    accepted: int = 0
    retried: int = 0
    dropped: int = 0
    shortened: int = 0
    reconnects: int = 0
    frames_in: int = 0
    frames_out: int = 0
    cancels: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    state: LinkState = "connecting"
    protocol: str = "unary"

    def changed_to(self, state: LinkState) -> bool:
        """Note the state; whether it is a new one."""
        changed = self.state != state
        self.state = state
        return changed
