"""Value at risk and expected shortfall of a set of positions, from the price histories they really had.

Pure arithmetic on lists of floats: no data source, no clock, no global random state.

    prices of one unit, day by day ──┬─ historical_losses ──┐
                                     └─ bootstrap_losses ───┴─> losses, ascending ──> value_at_risk
                                                                                 ├──> value_at_risk_interval
                                                                                 └──> expected_shortfall

A *loss* is what the positions lose over the horizon, in the currency of ``values``; a gain is a negative loss.
``values[i]`` is what position ``i`` is worth today and ``prices[i]`` is the history of one unit of it, oldest first.
All histories have one length.

Definitions, for ``n`` equally likely losses and a confidence ``c``:

* **value at risk** is the smallest loss ``x`` such that at least ``c·n`` of the losses are at or below ``x``: the
  left-continuous inverse of the empirical distribution (definition 1 of Hyndman and Fan, "Sample quantiles
  in statistical packages", The American Statistician 50, 1996). It is always a loss that occurred: nothing is
  interpolated.
* **expected shortfall** is the mean of the worst ``(1-c)·n`` losses, the last of them counted with the fraction
  that is left over (Acerbi and Tasche, "On the coherence of expected shortfall", Journal of Banking & Finance 26,
  2002). It is never below the value at risk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random


def historical_losses(values: Sequence[float], prices: Sequence[Sequence[float]], horizon_days: int) -> list[float]:
    """Losses if each stretch of ``horizon_days`` in the history happened again, in order of time.

    Historical simulation with overlapping stretches: today's values meet the relative price changes
    of every stretch, all positions moving together as they did. ``len(prices[0]) - horizon_days`` losses.
    """
    losses = [0.0] * (len(prices[0]) - horizon_days)
    for value, history in zip(values, prices, strict=True):
        # Start and end of each stretch: the longer list is cut to the shorter one on purpose.
        stretches = zip(history, history[horizon_days:], strict=False)
        losses = [loss - value * (end / start - 1.0) for loss, (start, end) in zip(losses, stretches, strict=True)]
    return losses


def bootstrap_losses(
    values: Sequence[float], prices: Sequence[Sequence[float]], horizon_days: int, *, paths: int, seed: int
) -> list[float]:
    """Losses on ``paths`` simulated futures, in the order drawn.

    Each future is ``horizon_days`` days drawn with replacement from the history (Efron's bootstrap, 1979). A drawn day
    brings the moves of all positions together, so the dependence between currencies is kept; the order of days is not.

    The draws are ``int(random() * n)`` of ``random.Random(seed)``, path by path: Python promises the same ``random()``
    for a seed in all versions, but not the same ``choices()`` or ``randrange()``.
    """
    days = list(zip(*(_growth(history) for history in prices), strict=True))
    count = len(days)
    draw = Random(seed).random
    today = sum(values)
    losses = []
    for _ in range(paths):
        drawn = [days[int(draw() * count)] for _ in range(horizon_days)]
        end = sum(value * math.prod(growth) for value, growth in zip(values, zip(*drawn, strict=True), strict=True))
        losses.append(today - end)
    return losses


def _growth(history: Sequence[float]) -> list[float]:
    """End over start of each day of a history."""
    return [after / before for before, after in pairwise(history)]


def value_at_risk(ascending_losses: Sequence[float], confidence: float) -> float:
    """The smallest loss that at least ``confidence`` of the losses do not exceed (0 < ``confidence`` < 1)."""
    return ascending_losses[_rank(len(ascending_losses), confidence) - 1]


def expected_shortfall(ascending_losses: Sequence[float], confidence: float) -> float:
    """The mean of the worst ``1 - confidence`` of the losses, the last of them counted in part (Acerbi and Tasche)."""
    count = len(ascending_losses)
    rank = _rank(count, confidence)
    beyond = ascending_losses[rank:]
    # The loss at the rank fills the tail up to its exact mass; with less than one loss beyond, it is all there is.
    tail = count * (1.0 - confidence)
    return (math.fsum(beyond) + (tail - len(beyond)) * ascending_losses[rank - 1]) / tail


def value_at_risk_interval(
    ascending_losses: Sequence[float], confidence: float, deviations: float = 1.96
) -> tuple[float, float]:
    """Bounds for the true value at risk when the losses are an independent sample (95 % by default).

    The number of losses below the true quantile is binomial; its normal approximation, ``deviations`` standard
    deviations wide, is read back as two order statistics. No assumption on the shape of the losses
    (Conover, "Practical Nonparametric Statistics", 3rd edition, section 3.2).
    """
    count = len(ascending_losses)
    spread = deviations * math.sqrt(count * confidence * (1.0 - confidence))
    low = math.floor(count * confidence - spread)
    high = math.ceil(count * confidence + spread)
    return ascending_losses[max(low, 1) - 1], ascending_losses[min(high, count) - 1]


def _rank(count: int, confidence: float) -> int:
    """``ceil(confidence * count)``, between 1 and ``count``, without the noise of binary fractions.

    0.55 * 100 is 55.00000000000001 in floats: taken as it is, the rank would be 56.
    """
    return min(max(math.ceil(round(confidence * count, 9)), 1), count)
