"""Value at risk and expected shortfall agree with a hand calculation, their definitions, and numpy's matrices."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.examples.fx_risk import var

Matrix = npt.NDArray[np.float64]


def random_market(seed: int, positions: int, days: int) -> tuple[list[float], list[list[float]]]:
    """Values (some of them debts) and price walks with daily moves of about one per cent."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1e6, 3e6, positions)
    prices = np.exp(np.cumsum(rng.normal(0.0, 0.01, (positions, days)), axis=1))
    return values.tolist(), prices.tolist()


def test_hand_computed_case() -> None:
    # One position worth 100; its price moved by +10 %, -10 %, +5 %.
    losses = var.historical_losses([100.0], [[1.0, 1.1, 0.99, 1.0395]], 1)
    assert losses == pytest.approx([-10.0, 10.0, -5.0])
    ascending = [-10.0, -5.0, 10.0]
    # c = 0.5: 1.5 of three losses must be at or below, so the second; the tail of 1.5 losses is 10 and half of -5.
    assert var.value_at_risk(ascending, 0.5) == -5.0
    assert var.expected_shortfall(ascending, 0.5) == pytest.approx((10.0 - 2.5) / 1.5)
    # c = 0.99: the tail holds 0.03 losses, all of them the worst.
    assert var.value_at_risk(ascending, 0.99) == 10.0
    assert var.expected_shortfall(ascending, 0.99) == pytest.approx(10.0)


def test_hand_computed_hedge_over_two_days() -> None:
    # Long 200 of a price that doubles over two days, short 100 of one that halves: both gain.
    losses = var.historical_losses([200.0, -100.0], [[1.0, 1.5, 2.0], [4.0, 3.0, 2.0]], 2)
    assert losses == [-(200.0 * 1.0 + 100.0 * 0.5)]


@pytest.mark.parametrize("horizon_days", [1, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.975, 0.99, 0.999])
def test_historical_simulation_agrees_with_matrices(horizon_days: int, confidence: float) -> None:
    values, prices = random_market(seed=horizon_days, positions=7, days=900)
    moves: Matrix = np.array(prices)[:, horizon_days:] / np.array(prices)[:, :-horizon_days] - 1.0
    expected = -(np.array(values) @ moves)

    losses = var.historical_losses(values, prices, horizon_days)

    assert losses == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-6)
    assert_measures_agree(sorted(losses), expected, confidence)


@pytest.mark.parametrize("horizon_days", [1, 10])
def test_bootstrap_agrees_with_matrices_on_the_same_draws(horizon_days: int) -> None:
    values, prices = random_market(seed=5, positions=4, days=301)
    paths, seed = 2_000, 42
    stream = random.Random(seed)
    drawn = np.array([int(stream.random() * 300) for _ in range(paths * horizon_days)])
    growth: Matrix = np.array(prices)[:, 1:] / np.array(prices)[:, :-1]
    ends = growth[:, drawn.reshape(paths, horizon_days)].prod(axis=2)
    expected = sum(values) - np.array(values) @ ends

    losses = var.bootstrap_losses(values, prices, horizon_days, paths=paths, seed=seed)

    assert losses == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-6)
    assert_measures_agree(sorted(losses), expected, 0.99)


def assert_measures_agree(ascending: list[float], losses: Matrix, confidence: float) -> None:
    """Other formulas for the same: numpy's inverted CDF; Rockafellar and Uryasev's minimum for the shortfall."""
    quantile = float(np.quantile(losses, confidence, method="inverted_cdf"))
    excess = float(np.maximum(losses - quantile, 0.0).mean())
    assert var.value_at_risk(ascending, confidence) == pytest.approx(quantile, rel=1e-9)
    shortfall = quantile + excess / (1.0 - confidence)
    assert var.expected_shortfall(ascending, confidence) == pytest.approx(shortfall, rel=1e-9)


def test_one_day_bootstrap_estimates_the_historical_value_at_risk() -> None:
    # One-day futures are draws from the historical losses themselves, so the two methods estimate the same number.
    values, prices = random_market(seed=9, positions=5, days=1_001)
    historical = sorted(var.historical_losses(values, prices, 1))
    truth = var.value_at_risk(historical, 0.99)
    hits = 0
    for seed in range(40):
        simulated = sorted(var.bootstrap_losses(values, prices, 1, paths=4_000, seed=seed))
        low, high = var.value_at_risk_interval(simulated, 0.99)
        hits += low <= truth <= high
        shortfall = var.expected_shortfall(historical, 0.99)
        assert var.expected_shortfall(simulated, 0.99) == pytest.approx(shortfall, rel=0.25)
    # A 95 % interval: 38 of 40 expected; under 33 has a probability of 1 in 300, and the seeds are fixed.
    assert hits >= 33


def test_bootstrap_is_a_function_of_its_seed() -> None:
    values, prices = random_market(seed=1, positions=2, days=50)
    first = var.bootstrap_losses(values, prices, 3, paths=200, seed=7)
    assert var.bootstrap_losses(values, prices, 3, paths=200, seed=7) == first
    assert var.bootstrap_losses(values, prices, 3, paths=200, seed=8) != first


@given(
    losses=st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=60),
    per_mille=st.integers(500, 999),
)
def test_measures_follow_their_definitions(losses: list[float], per_mille: int) -> None:
    confidence = per_mille / 1000
    count, tail = len(losses), len(losses) * Fraction(1000 - per_mille, 1000)
    at_or_below = {loss: Fraction(sum(other <= loss for other in losses), count) for loss in losses}
    expected_var = min(loss for loss, share in at_or_below.items() if share >= Fraction(per_mille, 1000))
    # The tail, loss by loss from the worst, each weighed by what is left of the tail's mass.
    left, total = tail, Fraction(0)
    for loss in sorted(losses, reverse=True):
        weight = min(left, Fraction(1))
        total += weight * Fraction(loss)
        left -= weight

    ascending = sorted(losses)

    assert var.value_at_risk(ascending, confidence) == expected_var
    assert var.expected_shortfall(ascending, confidence) == pytest.approx(float(total / tail), abs=1e-6)
    low, high = var.value_at_risk_interval(ascending, confidence)
    assert low <= expected_var <= high


def test_rank_is_not_moved_by_binary_fractions() -> None:
    # 0.55 * 100 is 55.00000000000001: the rank is 55 all the same.
    assert var.value_at_risk([float(loss) for loss in range(1, 101)], 0.55) == 55.0
