"""Two builds by turns: equal ones are hardly ever called different, whatever the machine does meanwhile; and a build
that is 15 % slower is found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_support import sample

from arbd.tuning import paired
from arbd.tuning.compare import THROUGHPUT, holm
from arbd.tuning.paired import Block, Side

Machine = Callable[[Random], Iterator[float]]
"""Makes the logarithm of a machine's speed, sample by sample: the noise that a campaign would meet."""


def white(rng: Random, spread: float = 0.08) -> Iterator[float]:
    """Samples that know nothing of each other."""
    while True:
        yield rng.gauss(0, spread)


def alike(rng: Random) -> Iterator[float]:
    """AR(1): each sample resembles the one before it."""
    level = 0.0
    while True:
        level = 0.9 * level + rng.gauss(0, 0.05)
        yield level


def drifting(rng: Random) -> Iterator[float]:
    """A machine that gets slower and slower, by three quarters over a campaign."""
    for number in itertools.count():
        yield -0.035 * number + rng.gauss(0, 0.05)


def disturbed(rng: Random) -> Iterator[float]:
    """Other work comes and goes, and takes two fifths of the speed while it is there."""
    is_loaded = False
    while True:
        is_loaded = is_loaded if rng.random() < 0.85 else not is_loaded
        yield (math.log(0.6) if is_loaded else 0.0) + rng.gauss(0, 0.04)


def with_outliers(rng: Random) -> Iterator[float]:
    """One sample in ten is hit by something, and takes up to five times as long."""
    while True:
        yield rng.gauss(0, 0.05) - (rng.uniform(0, math.log(5)) if rng.random() < 0.1 else 0.0)


MACHINES: Final = [white, alike, drifting, disturbed, with_outliers]


def campaign(machine: Machine, seed: int, *, here: float = 1.0, blocks: int = paired.USUAL_BLOCKS) -> list[Block]:
    """The blocks of one run of ``arbd bench --against``; ``here``: how fast this build is beside the other."""
    rng = Random(seed)
    speed = machine(rng)
    idle = machine(Random(seed + 1))
    made = []
    for order in paired.orders(blocks, rng):
        samples = []
        for side in order:
            factor = here if side == "here" else 1.0
            samples.append(sample(1000 * factor * math.exp(next(speed)), idle_s=0.0005 * math.exp(next(idle))))
        made.append(Block(order, samples))
    return made


def verdicts(blocks: list[Block]) -> list[str]:
    return [row.verdict for row in paired.judge(blocks)]


@pytest.mark.parametrize("machine", MACHINES)
def test_equal_builds_are_hardly_ever_called_different(machine: Machine) -> None:
    """In 1,000 runs at most 1 % by more than chance: of 20 runs, at most one is a false alarm in 98 of 100 cases."""
    alarms = sum(set(verdicts(campaign(machine, seed))) != {"no difference found"} for seed in range(1000))
    assert alarms <= 20


@pytest.mark.parametrize("machine", [white, alike, drifting])
def test_a_build_that_is_15_percent_slower_is_found(machine: Machine) -> None:
    """Where other work comes and goes it may not be: then there is no alarm, rather than a false one."""
    found = sum(verdicts(campaign(machine, seed, here=0.85))[0] == "slower" for seed in range(300))
    assert found >= 0.97 * 300


def test_a_faster_build_is_called_faster() -> None:
    assert verdicts(campaign(white, 1, here=1.5)) == ["faster", "no difference found"]


def test_a_longer_latency_is_slower() -> None:
    blocks = [
        Block(order, [sample(1000.0, idle_s=0.001 if side == "here" else 0.0005) for side in order])
        for order in paired.orders(10, Random(1))
    ]
    assert verdicts(blocks) == ["no difference found", "slower"]


def test_a_sure_difference_of_less_than_2_percent_is_none() -> None:
    blocks = [
        Block(order, [sample(990.0 if side == "here" else 1000.0) for side in order])
        for order in paired.orders(12, Random(1))
    ]
    (row, _) = paired.judge(blocks)
    assert (row.verdict, row.p < 0.001) == ("no difference found", True)


@pytest.mark.parametrize("slope", [-0.3, 0.0, 0.3])
def test_an_even_drift_falls_out(slope: float) -> None:
    for order in paired.orders(8, Random(3)):
        samples = [sample(1000 * math.exp(slope * at)) for at in range(4)]
        assert Block(order, samples).log_ratio(THROUGHPUT) == pytest.approx(0.0, abs=1e-9)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_the_p_value_is_that_of_the_definition_ties_and_zeros_included(figures: list[int]) -> None:
    told = [figure for figure in figures if figure]
    ascending = sorted(abs(figure) for figure in told)

    def rank(figure: int) -> float:
        below = sum(each < abs(figure) for each in ascending)
        return below + (ascending.count(abs(figure)) + 1) / 2

    ranks = [rank(figure) for figure in told]
    seen = abs(sum(math.copysign(each, figure) for each, figure in zip(ranks, told, strict=True)))
    ways = [
        abs(sum(sign * each for sign, each in zip(signs, ranks, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(told))
    ]
    assert paired.signed_rank_p(figures) == pytest.approx(sum(way >= seen - 1e-9 for way in ways) / len(ways))


def test_a_published_example() -> None:
    """Tables of the signed rank test: with 10 pairs, W = 3 is the last that is significant at 1 % (two-sided)."""
    ranks = range(1, 11)
    assert paired.signed_rank_p([-each if each == 3 else each for each in ranks]) == pytest.approx(10 / 1024)
    assert paired.signed_rank_p([-each if each == 4 else each for each in ranks]) == pytest.approx(14 / 1024)


def test_figures_that_are_all_zero_tell_nothing() -> None:
    assert paired.signed_rank_p([0.0] * 10) == 1.0


def test_holm_goes_on_while_each_is_small_enough() -> None:
    assert holm([0.02, 0.001, 0.04, 0.9], 0.05) == [False, True, False, False]
    assert holm([0.004, 0.012, 0.03, 0.02], 0.05) == [True, True, True, True]
    assert holm([], 0.05) == []


def test_few_blocks_cannot_tell() -> None:
    few = campaign(white, 1, here=0.2, blocks=paired.fewest_blocks() - 1)
    assert verdicts(few) == ["too few samples"] * 2
    assert verdicts(campaign(white, 1, here=0.2, blocks=paired.fewest_blocks()))[0] == "slower"


def test_both_orders_are_drawn_and_each_build_has_its_turn_twice() -> None:
    drawn = paired.orders(200, Random(4))
    assert set(drawn) == {("here", "there", "there", "here"), ("there", "here", "here", "there")}
    assert 60 < sum(order[0] == "here" for order in drawn) < 140


def test_a_sample_without_a_rate_says_nothing() -> None:
    order: tuple[Side, Side, Side, Side] = ("here", "there", "there", "here")
    nothing = msgspec.structs.replace(sample(1000.0), tasks=0)
    assert Block(order, [nothing, *(sample(1000.0) for _ in range(3))]).log_ratio(THROUGHPUT) == 0.0
