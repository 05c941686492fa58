"""What a campaign does and when: pure, and the same for the same seed.

A fault is a kind and a variant of it. All variants come by turns, in a shuffled order, so that a long campaign has
each of them several times, and no two campaigns the same sequence.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

EVERY_S: Final = 2.0
FIRST_S: Final = 1.0

VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    # Whose limit is lowered to what it has, and who is killed meanwhile, so that something new is needed.
    "descriptors": ("supervisor", "supervisor, worker killed", "supervisor, zygote killed", "zygote", "worker"),
    "processes": ("zygote", "supervisor"),
    "log pipe": ("full", "full for long"),
    "runtime directory": ("removed",),
    "zygote killed": ("alone",),
    "zygote stopped": ("for a while", "for good"),
    "worker killed": ("one", "all"),
    "import": ("raises at SIGHUP", "raises after a kill", "hangs at SIGHUP", "hangs after a kill"),
    "SIGHUP": ("burst",),
}


class Fault(msgspec.Struct, frozen=True):
    """One fault. ``at_s``: seconds after the daemon serves; ``dice``: what chance decides in it."""

    at_s: float
    kind: str
    variant: str
    dice: int

    @property
    def words(self) -> str:
        """Both, to be read."""
        return f"{self.kind}: {self.variant}"


def plan(seed: int, seconds: float, kinds: Collection[str]) -> list[Fault]:
    """The faults of a campaign, one every two seconds; only of these kinds."""
    chance = random.Random(seed)
    deck = _deck(chance, [(kind, variant) for kind in kinds for variant in VARIANTS[kind]])
    count = max(0, int((seconds - FIRST_S) // EVERY_S)) if kinds else 0
    return [Fault(FIRST_S + number * EVERY_S, *next(deck), chance.getrandbits(32)) for number in range(count)]


def _deck(chance: random.Random, cards: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    while True:
        yield from chance.sample(cards, len(cards))
