"""Stacks that were sampled, folded: a line for each that there was, outermost frame first, with how often it was seen.

    main (/a/app.py:3);total (/a/app.py:9) 25

That is what py-spy writes, and what flame graph tools read. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from arbd.printable import printable

Folded = Counter[tuple[str, ...]]

_LOOP: Final = "/arbd/worker/loop.py:"
_RUN: Final = ("Loop.run (", "run (")  # before Python 3.11 code does not know its class
_SLEEP: Final = ("Loop._sleep (", "_sleep (")
_MOST_FRAMES: Final = 200
_LONGEST_FRAME: Final = 300


def parse(text: str) -> Folded:
    """The stacks in a text; lines that are none are left out."""
    found: Folded = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack and count.isascii() and count.isdecimal() and len(count) < 19:
            found[tuple(frame[:_LONGEST_FRAME] for frame in stack.split(";")[:_MOST_FRAMES])] += int(count)
    return found


def in_action(stacks: Folded, source: str) -> Folded:
    """What was seen in the function whose code begins at ``source``, ``file:line``, from there on."""
    found: Folded = Counter()
    for stack, count in stacks.items():
        at = next((number for number, frame in enumerate(stack) if frame.endswith(f" ({source})")), None)
        if at is not None:
            found[stack[at:]] += count
    return found


def of_tasks(stacks: Folded) -> Folded:
    """What was seen of workers that had something to do, from their main loop on; other threads whole."""
    found: Folded = Counter()
    for stack, count in stacks.items():
        of_loop = [number for number, frame in enumerate(stack) if _LOOP in frame]
        if any(stack[number].startswith(_SLEEP) for number in of_loop):
            continue
        at = next((number + 1 for number in of_loop if stack[number].startswith(_RUN)), 0)
        if at < len(stack):
            found[stack[at:]] += count
    return found


def most(stacks: Folded, limit: int) -> list[tuple[str, int]]:
    """As text with counts, the most frequent first, as many as fit into so many characters."""
    kept: list[tuple[str, int]] = []
    for stack, count in stacks.most_common():
        text = ";".join(stack)
        limit -= len(text)
        if limit < 0:
            break
        kept.append((text, count))
    return kept


def folded(stacks: Mapping[tuple[str, ...], int]) -> str:
    """The text of these stacks, a line for each: names come from the author's code."""
    return "".join(f"{printable(';'.join(stack))} {count}\n" for stack, count in sorted(stacks.items()))


def of_pairs(pairs: Iterable[tuple[str, int]]) -> Folded:
    """What ``most`` has kept."""
    return Counter({tuple(text.split(";")): count for text, count in pairs})
