"""CPU time by action, as one worker counts it: words behind its ledger, one for each action, which only grow.

The clock of the process is read when totals are published: after a task that took long, every so many short ones, and
before sleep. What it has grown by since then is shared out among the actions that ran meanwhile, by how long they ran;
so for short tasks of several actions it is an estimate, and exact for all others.
"""

from __future__ import annotations


class ActionCpu:
    """The words of one worker, in the order of ``actions``."""

    __slots__ = ("_index", "_last_ns", "_words", "ran")

    def __init__(self, words: memoryview, actions: tuple[str, ...] | list[str]) -> None:
        self._words = words
        self._index = {action: number for number, action in enumerate(actions)}
        self._last_ns = 0
        self.ran: dict[str, int] = {}  # nanoseconds by action, since the clock was read last

    def begin(self, cpu_ns: int) -> None:
        """Count from here on: what the start has used is no action's."""
        self._last_ns = cpu_ns

    def share_out(self, cpu_ns: int) -> None:
        """The clock says this now."""
        ran = self.ran
        if not ran:
            return  # what is used between tasks counts with the next ones
        used_ns = cpu_ns - self._last_ns
        self._last_ns = cpu_ns
        if len(ran) == 1:
            (action,) = ran
            self._words[self._index[action]] += used_ns
        else:
            total_ns = sum(ran.values()) or 1
            for action, run_ns in ran.items():
                self._words[self._index[action]] += used_ns * run_ns // total_ns
        ran.clear()


def nowhere(actions: tuple[str, ...] | list[str]) -> ActionCpu:
    """One that nobody reads."""
    return ActionCpu(memoryview(bytearray(8 * max(1, len(actions)))).cast("Q"), actions)
