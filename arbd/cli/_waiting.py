"""What is said while results are awaited and none comes: that nobody is connected, or who has what.

Pure: the hub's state and the time come in, a sentence or none goes out. Said once as soon as it is known, again when it
has changed, and again after a while that grows: so that a wait is never silent for ever, and never a flood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from arbd.core.history import shown

if TYPE_CHECKING:
    from arbd.hub.client import HubStatus

LOOK_AFTER_S: Final = 0.4  # so that it is said within a second
LOOK_EVERY_S: Final = 1.0
_FIRST_AGAIN_S: Final = 10.0
_LONGEST_S: Final = 300.0
_MOST_NAMES: Final = 5


class Awaited(NamedTuple):
    """What is waited for: ``hub``, where it is; ``provider``, the only one that may have it, empty: any; how many
    results are still to come."""

    hub: str
    provider: str
    left: int


class WaitingWords:
    """What has been said so far."""

    def __init__(self) -> None:
        self._said_kind = ""
        self._again_at = 0.0
        self._pause_s = _FIRST_AGAIN_S

    def say(self, awaited: Awaited, status: HubStatus, waited_s: float) -> str:
        """The sentence that is due now; empty: none. ``waited_s``: since a result came, or since the beginning."""
        kind, words = _state(awaited, status)
        if kind != self._said_kind:
            was_alone, self._said_kind = self._said_kind == "nobody", kind
            self._pause_s = _FIRST_AGAIN_S
            self._again_at = waited_s + self._pause_s
            return words if kind == "nobody" or was_alone else ""
        if waited_s < self._again_at:
            return ""
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        self._again_at = waited_s + self._pause_s
        return f"after {waited_s:.0f} s: {words}"


def nobody(awaited: Awaited, status: HubStatus) -> str:
    """That nobody is there to take it; empty: somebody is."""
    kind, words = _state(awaited, status)
    return words if kind == "nobody" else ""


def _state(awaited: Awaited, status: HubStatus) -> tuple[str, str]:
    them, wait = ("the task", "waits") if awaited.left == 1 else (f"{awaited.left} tasks", "wait")
    connected = status.connected
    able = [each for each in connected if not awaited.provider or each.name == awaited.provider]
    if able:
        names = ", ".join(shown(each.name) for each in able[:_MOST_NAMES])
        more = f" and {len(able) - _MOST_NAMES} more" if len(able) > _MOST_NAMES else ""
        return "somebody", (
            f"{names}{more} {'is' if len(able) == 1 else 'are'} connected; {awaited.left} of the results are still to "
            f"come; at the hub {status.queued} tasks wait, and {status.leased} are with a provider"
        )
    if connected:
        others = ", ".join(shown(each.name) for each in connected[:_MOST_NAMES])
        return "nobody", (
            f"no provider {shown(awaited.provider)} is connected to the hub at {awaited.hub} ({others} only): {them} "
            f"{wait} until it is"
        )
    return "nobody", (
        f"nobody is connected to the hub at {awaited.hub}: {them} {wait} until a provider is; start one: "
        f"arbd run PROVIDER.py --hub {awaited.hub}"
    )
