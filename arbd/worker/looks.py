"""When a worker looks at what an action may have changed behind Python's back: seldom, once it knows the action.

    an action that is not proven     a full look after each run
    it changed nothing ``PROOF``     it is proven: a quick look after a run of 50 µs, or every 64th task, not twice in
    times in a row                   50 ms; one in 100 ms is a full one
    it changed something             it is not proven any more
    ``guard.python_state`` shows it  a full look at once
    the worker has become idle       it is rung (``arbd.core.idle_looks``), and looks in full unless it has

A quick look takes 4 µs, a full one 50 µs, and ten times that from the cold caches of a worker that has just worked for
some milliseconds: for actions that do nothing of the kind up to 1 % of the time goes there. So what a proven action
changes all the same, unseen, is felt by the tasks of 100 ms at most. Pure: times are arguments.
"""

from __future__ import annotations

from typing import Final

from arbd.worker.guard.guard import Depth

PROOF: Final = 50
QUICK_APART_NS: Final = 50_000_000
FULL_APART_NS: Final = 100_000_000


class Looks:
    """The looks of one worker. ``proven``: the actions that are, to be asked before anything else; ``is_full``: whether
    the last look was a full one."""

    def __init__(self) -> None:
        self.proven: set[str] = set()
        self.is_full = True  # at its start, everything is as it was found
        self._harmless_runs: dict[str, int] = {}
        self._looked_at_ns = 0
        self._fully_looked_at_ns = 0

    def due(self, action: str, now_ns: int) -> Depth | None:
        """How deep to look after a run of this action; ``None``: not now."""
        if action not in self.proven or now_ns - self._fully_looked_at_ns >= FULL_APART_NS:
            return "full"
        return "quick" if now_ns - self._looked_at_ns >= QUICK_APART_NS else None

    def looked(self, action: str, depth: Depth, now_ns: int, *, found: bool) -> None:
        """Note a look after this action, and whether it ``found`` something changed."""
        self._looked_at_ns = now_ns
        self.is_full = depth == "full"
        if self.is_full:
            self._fully_looked_at_ns = now_ns
        if found:
            self.proven.discard(action)
            self._harmless_runs.pop(action, None)
        elif action not in self.proven:
            runs = self._harmless_runs.get(action, 0) + 1
            self._harmless_runs[action] = runs
            if runs >= PROOF:
                self.proven.add(action)
