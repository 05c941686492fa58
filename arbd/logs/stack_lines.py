"""Stacks in a line of the log: the part that is an action's, and not more of it than somebody reads.

Stacks are text as ``faulthandler`` writes it, the innermost call first.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

MOST_LINES: Final = 40
_MOST_CHARS: Final = 6000
_MAIN: Final = re.compile(r"^(Current thread|Thread) .*:$", re.MULTILINE)
#: The code of arbd that runs an action: what lies outside of it is the same in every stack.
_RUNS_ACTIONS: Final = tuple(f'"{Path(__file__).parents[1] / name}/' for name in ("worker", "author"))


def of_action(dump: str) -> str:
    """The stack of the main thread, which runs actions, up to the code of arbd that called the action. In a dump it is
    the last."""
    begins = [found.end() for found in _MAIN.finditer(dump)]
    return shortened(dump[begins[-1] :].strip("\n").split("\n") if begins else dump.split("\n"))


def folded(text: str) -> str:
    """The stacks of a process for people: of each, what lies outside of the code of arbd that called the action is only
    counted."""
    return "\n\n".join(_folded(block.split("\n")) for block in text.split("\n\n"))


def _folded(lines: list[str]) -> str:
    """One stack, with a line before it that says whose it is. Its innermost call stays, also where that is arbd's."""
    outside = next((number for number, line in enumerate(lines[2:], 2) if _is_outside(line)), len(lines))
    more = len(lines) - outside
    return "\n".join([*lines[:outside], *([f"  ({more} more, of arbd)"] if more else [])])


def _is_outside(line: str) -> bool:
    return any(each in line for each in _RUNS_ACTIONS)


def shortened(lines: list[str]) -> str:
    """These lines of a stack, up to the code of arbd that called the action; all of it, where none is the author's."""
    outside = next((number for number, line in enumerate(lines) if _is_outside(line)), len(lines))
    own = lines[:outside] or lines
    if len(own) > MOST_LINES:
        own = [*own[:MOST_LINES], f"  ({len(own) - MOST_LINES} more)"]
    return "\n".join(own)[:_MOST_CHARS]
