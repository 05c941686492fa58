"""CPU time by action, as one worker counts it: words behind its ledger, one for each action, which only grow.

The clock of the process is read when totals are published: after a task that took long, every so many short ones, and
before sleep. What it has grown by since then is shared out among the actions that ran meanwhile, by how long they ran;
so for short tasks of several actions it is an estimate, and exact for all others.
"""

from __future__ import annotations


class ActionCpu:
    """The words of one worker, in the order of ``actions``."""

    __slots__ = ("_action", "_begun_ns", "_index", "_last_ns", "_ran", "_words")

    def __init__(self, words: memoryview, actions: tuple[str, ...] | list[str]) -> None:
        self._words = words
        self._index = {action: number for number, action in enumerate(actions)}
        self._last_ns = 0
        self._action = ""  # that runs, task after task
        self._begun_ns = 0  # how long the worker had been busy when these began
        self._ran: dict[str, int] = {}  # nanoseconds by action, since the clock was read last

    def begin(self, cpu_ns: int) -> None:
        """Count from here on: what the start has used is no action's."""
        self._last_ns = cpu_ns

    def turn_to(self, action: str, busy_ns: int) -> None:
        """From now on, tasks of this action run; so far the worker has been busy for so long."""
        if busy_ns != self._begun_ns:
            self._ran[self._action] = self._ran.get(self._action, 0) + busy_ns - self._begun_ns
            self._begun_ns = busy_ns
        self._action = action

    def share_out(self, cpu_ns: int, busy_ns: int) -> None:
        """The clock says this now; so far the worker has been busy for so long."""
        self.turn_to(self._action, busy_ns)
        ran = self._ran
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
