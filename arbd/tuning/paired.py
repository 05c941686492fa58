"""The statistics of two builds that were measured by turns: whether one of them is slower. Pure.

    block 1    A B B A          each block is drawn by lot: A B B A, or B A A B
    block 2    B A A B          its figure: mean log of B's two samples - mean log of A's two
    ...

A drift that is even within a block falls out of its figure. And whatever the machine did (drift, load that comes and
goes, samples that resemble the one before), the lot alone decides which build stood where: where the builds are equal,
drawing the other order would have turned the figure's sign and nothing else. So every pattern of signs was as likely as
the one that was seen, and a test that goes by signs is exact without any assumption about the noise (R. A. Fisher: The
Design of Experiments (1935), section 21; E. S. Edgington: Randomization Tests (1980)). The statistic is the sum of
signed ranks, which one wild block cannot carry away (F. Wilcoxon: Individual Comparisons by Ranking Methods, Biometrics
Bull. 1 (1945) 80-83), ties by midranks, counted out like those of ``arbd.tuning.compare``.

The size of a difference is the median over the blocks. Two quantities are judged, with the false alarms of both
together held at ``FALSE_ALARMS`` (S. Holm: A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Stat. 6
(1979) 65-70); and a difference below 2 % is not worth a word, however sure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from statistics import median
from typing import Final, Literal

import msgspec

from arbd.tuning.compare import LEAST_EFFECT, QUANTITIES, Quantity, double_midranks, holm, sums
from arbd.tuning.record import Machine, Point, Sample, Setup

FALSE_ALARMS: Final = 0.01
#: With so many a build that is 15 % slower is found in 99 of 100 runs where samples of one build scatter by 8 %, in 93
#: with ten (simulated: tests/unit/tuning/test_paired.py).
USUAL_BLOCKS: Final = 12

Side = Literal["here", "there"]
PairedVerdict = Literal["slower", "faster", "no difference found", "too few samples"]


class Block(msgspec.Struct, frozen=True):
    """Four samples in the order in which they were taken: two of each build."""

    order: tuple[Side, Side, Side, Side]
    samples: list[Sample]

    def log_ratio(self, quantity: Quantity) -> float:
        """The logarithm of here / there; 0 where one of them is not positive."""
        values = [quantity.of(sample) for sample in self.samples]
        if min(values) <= 0:
            return 0.0
        signs = [0.5 if side == "here" else -0.5 for side in self.order]
        return sum(sign * math.log(value) for sign, value in zip(signs, values, strict=True))


class BuildFacts(msgspec.Struct, frozen=True):
    """A build that was measured: the version of arbd, of Python, and of the packages it runs on."""

    python: str
    packages: dict[str, str]


class PairedRow(msgspec.Struct, frozen=True):
    """One quantity of both builds. ``ratio``: the median of here / there over the blocks; ``lowest`` and ``highest`` of
    them; ``p``: the chance of such signed ranks between equal builds."""

    quantity: str
    there: float
    here: float
    ratio: float
    lowest: float
    highest: float
    p: float
    verdict: PairedVerdict


class PairedRecord(msgspec.Struct, frozen=True):
    """What ``arbd bench --against`` found. ``load_before``: the load average of the last minute before it began."""

    created_at: str
    machine: Machine
    setup: Setup
    point: Point
    builds: dict[Side, BuildFacts]
    blocks: list[Block]
    rows: list[PairedRow]
    load_before: float
    complete: bool = True

    @property
    def is_slower(self) -> bool:
        """Whether this build is slower by more than noise."""
        return any(row.verdict == "slower" for row in self.rows)

    @property
    def can_tell(self) -> bool:
        """Whether there are blocks enough to tell anything."""
        return can_tell(len(self.blocks))


def orders(blocks: int, lot: Random) -> list[tuple[Side, Side, Side, Side]]:
    """The order of each block, drawn by lot."""
    first: list[tuple[Side, Side, Side, Side]] = [
        ("here", "there", "there", "here"),
        ("there", "here", "here", "there"),
    ]
    return [lot.choice(first) for _ in range(blocks)]


def signed_rank_p(figures: Sequence[float]) -> float:
    """The exact two-sided p-value of the sum of signed ranks; figures of 0 say nothing."""
    told = [figure for figure in figures if figure != 0]
    if not told:
        return 1.0
    ranks = double_midranks([abs(figure) for figure in told])
    total = sum(ranks)
    positive = sum(rank for rank, figure in zip(ranks, told, strict=True) if figure > 0)
    distance = abs(2 * positive - total)
    ways = sums(ranks)
    as_far = sum(count for reached, count in ways.items() if abs(2 * reached - total) >= distance)
    return float(as_far / 2 ** len(told))


def can_tell(blocks: int) -> bool:
    """Whether so many blocks can tell a difference at all: all of one sign, and both quantities judged."""
    return float(2 / 2**blocks) <= FALSE_ALARMS / len(_judged())


def fewest_blocks() -> int:
    """The fewest blocks that can tell a difference."""
    return next(count for count in range(1, 64) if can_tell(count))


def judge(blocks: Sequence[Block]) -> list[PairedRow]:
    """What the blocks say of each quantity."""
    figures = {quantity: [block.log_ratio(quantity) for block in blocks] for quantity in _judged()}
    chances = [signed_rank_p(each) for each in figures.values()]
    are_real = holm(chances, FALSE_ALARMS)
    return [
        _row(quantity, blocks, each, p, is_real=is_real)
        for (quantity, each), p, is_real in zip(figures.items(), chances, are_real, strict=True)
    ]


def _judged() -> list[Quantity]:
    return [quantity for quantity in QUANTITIES if quantity.counts]


def _row(
    quantity: Quantity, blocks: Sequence[Block], figures: Sequence[float], p: float, *, is_real: bool
) -> PairedRow:
    sides: Mapping[Side, list[float]] = {"here": [], "there": []}
    for block in blocks:
        for side, sample in zip(block.order, block.samples, strict=True):
            sides[side].append(quantity.of(sample))
    ratio = math.exp(median(figures))
    return PairedRow(
        quantity=quantity.name,
        there=median(sides["there"]),
        here=median(sides["here"]),
        ratio=ratio,
        lowest=math.exp(min(figures)),
        highest=math.exp(max(figures)),
        p=p,
        verdict=_verdict(quantity, ratio, is_real=is_real, blocks=len(blocks)),
    )


def _verdict(quantity: Quantity, ratio: float, *, is_real: bool, blocks: int) -> PairedVerdict:
    if not can_tell(blocks):
        return "too few samples"
    if not is_real or abs(ratio - 1) < LEAST_EFFECT:
        return "no difference found"
    return "faster" if (ratio > 1) == quantity.more_is_better else "slower"
