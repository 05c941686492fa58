"""Tasks that were refused for what their caller sent: how many of each kind, and when there is a line to write of them.

    the first of a kind     a line at once
    more within a minute    counted, and told together when the minute is over

So a caller who sends nonsense a thousand times a second costs a line a minute, and no refusal is untold. Pure; times
are nanoseconds of a monotonic clock.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from arbd.core.history import shown
from arbd.model.reasons import Reason, reason_of
from arbd.model.response import ProviderResponse

RefusalKind = Literal["unknown action", "payload too large", "payload invalid", "id too long", "too late"]
"""Why: no such action is offered; payload or account have more bytes than allowed; they do not fit the schema; the id
has too many characters; the task's own deadline had passed."""

EVERY_NS: Final = 60 * 1_000_000_000
_MOST_OF_TEXT: Final = 200
_KIND_OF_REASON: Final[dict[Reason, RefusalKind]] = {
    "unknown_action": "unknown action",
    "too_large": "payload too large",
    "expired": "too late",
}


class RefusalLine(NamedTuple):
    """What a line tells: how many of this kind since the last one, and the last of them.
    ``traceparent`` is as it came."""

    kind: RefusalKind
    times: int
    action: str
    task_id: str
    reason: str
    attempt: int = 0
    traceparent: str = ""


class _Told:
    """One kind: when its last line was, and what was not told since."""

    def __init__(self) -> None:
        self.at_ns: int | None = None
        self.untold = 0
        self.last = ("", "", "")
        self.handed_out = (0, "")


class Refusals:
    """The refusals of one daemon. ``counts``: of each kind since its start; they never go down."""

    def __init__(self) -> None:
        self.counts: dict[RefusalKind, int] = dict.fromkeys(get_args(RefusalKind), 0)
        self._told = {kind: _Told() for kind in self.counts}

    def note(
        self,
        kind: RefusalKind,
        action: str,
        task_id: str,
        reason: str,
        now_ns: int,
        *,
        attempt: int = 0,
        traceparent: str = "",
    ) -> RefusalLine | None:
        """Count one; the line that is due with it. ``attempt``: 0 where it is not known."""
        self.counts[kind] += 1
        told = self._told[kind]
        told.untold += 1
        told.last = action, task_id, reason
        told.handed_out = attempt, traceparent
        return self._line(kind, now_ns)

    def due(self, now_ns: int) -> list[RefusalLine]:
        """The lines of what was counted, and is not told yet, as far as their minute is over."""
        lines = [self._line(kind, now_ns) for kind, told in self._told.items() if told.untold]
        return [line for line in lines if line is not None]

    def next_due_ns(self) -> int | None:
        """When ``due`` has something to tell; ``None``: everything is told."""
        return min(
            (told.at_ns + EVERY_NS for told in self._told.values() if told.untold and told.at_ns is not None),
            default=None,
        )

    def _line(self, kind: RefusalKind, now_ns: int) -> RefusalLine | None:
        told = self._told[kind]
        if told.at_ns is not None and now_ns - told.at_ns < EVERY_NS:
            return None
        count, told.at_ns, told.untold = told.untold, now_ns, 0
        action, task_id, reason = (shown(text, _MOST_OF_TEXT) for text in told.last)
        return RefusalLine(kind, count, action, task_id, reason, *told.handed_out)


def kind_of(response: ProviderResponse) -> RefusalKind | None:
    """What kind of refusal the supervisor's own response is; ``None``: none that its caller is to blame for."""
    if response.status != "error":
        return None
    return "id too long" if response.data is None else _KIND_OF_REASON.get(reason_of(response.data))
