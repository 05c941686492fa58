"""When a worker decides itself to end, and why.

    a deadline or a cancel struck in an action     interrupted, cancelled: it may hold half a reply, half a transaction
    what an action changed cannot be put back      changed

An action with ``after_timeout="keep"`` says that it leaves nothing half done. One that answered late without having
been interrupted, because C code did not return, is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from arbd.ipc.notice import Leaving
from arbd.worker.guard.guard import Depth, Guard
from arbd.worker.soft_timer import Strike

_DETAILS: Final[dict[Strike, str]] = {
    "interrupted": "its deadline struck inside the action",
    "cancelled": "it was cancelled inside the action",
}


class LeaveReasons:
    """Why this worker should end, as far as its actions are to blame. ``noticed`` is true where there is something to
    look at. ``keeps``: whether an interruption of that action is no reason."""

    def __init__(self, guard: Guard, keeps: Callable[[str], bool] = lambda _: False) -> None:
        self._guard = guard
        self._keeps = keeps
        self._struck: Strike | None = None
        self._spoiled: list[str] = []
        self.noticed = guard.noticed

    @property
    def found(self) -> bool:
        """Whether the last look found something changed."""
        return self._guard.found

    def strike(self, what: Strike) -> None:
        """A deadline or a cancel has interrupted the action."""
        self._struck = what
        self.noticed.add("an interruption")

    def spoil(self, detail: str) -> None:
        """The action has left something that cannot be put back."""
        self._spoiled.append(detail)
        self.noticed.add("something else")

    def after(self, action: str, depth: Depth) -> Leaving | None:
        """Look after a task; the notice to leave, if it must be."""
        detail = self._guard.after(action, depth)
        if not (self._struck or self._spoiled or detail):
            return None
        struck, self._struck = self._struck, None
        spoiled = [*self._spoiled, detail] if detail else list(self._spoiled)
        self._spoiled.clear()
        self.noticed.clear()
        if struck is not None and not self._keeps(action):
            return Leaving(struck, _DETAILS[struck], action)
        if spoiled:
            return Leaving("changed", "; ".join(spoiled), action)
        return None
