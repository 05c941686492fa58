"""When a worker looks at what an action may have changed behind Python's back: seldom, once it knows the action.

    an action that is not proven     a full look after each run
    it changed nothing ``PROOF``     it is proven: after a long run, every 64th task and before sleep there is a quick
    times in a row                   look, but not twice in 20 ms; one in 200 ms is a full one
    it changed something             it is not proven any more

A quick look takes 4 µs, a full one 40 µs, and ten times that from the cold caches of a worker that has just worked for
some milliseconds: for actions that do nothing of the kind less than 1 % of the time goes there, and none is ever
trusted for longer than 200 ms. Pure: times are arguments.
"""

from __future__ import annotations

from typing import Final

from arbd.worker.guard.guard import Depth

PROOF: Final = 50
QUICK_APART_NS: Final = 20_000_000
FULL_APART_NS: Final = 200_000_000


class Looks:
    """The looks of one worker. ``proven``: the actions that are, to be asked before anything else."""

    def __init__(self) -> None:
        self.proven: set[str] = set()
        self._harmless_runs: dict[str, int] = {}
        self._looked_at_ns = 0
        self._fully_looked_at_ns = 0

    def due(self, action: str, now_ns: int) -> Depth | None:
        """How deep to look after this action; ``None``: not now."""
        if action not in self.proven or now_ns - self._fully_looked_at_ns >= FULL_APART_NS:
            return "full"
        return "quick" if now_ns - self._looked_at_ns >= QUICK_APART_NS else None

    def looked(self, action: str, depth: Depth, now_ns: int, *, found: bool) -> None:
        """Note a look after this action, and whether it ``found`` something changed."""
        self._looked_at_ns = now_ns
        if depth == "full":
            self._fully_looked_at_ns = now_ns
        if found:
            self.proven.discard(action)
            self._harmless_runs.pop(action, None)
        elif action not in self.proven:
            runs = self._harmless_runs.get(action, 0) + 1
            self._harmless_runs[action] = runs
            if runs >= PROOF:
                self.proven.add(action)
