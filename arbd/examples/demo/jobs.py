"""The jobs of the demo: portfolios of real currencies, each judged by both methods. Pure.

The same count gives the same jobs on every machine that has the same rates: weights come from a fixed seed,
currencies are those with enough history.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

import msgspec

from arbd.examples.fx_risk.rates import ExchangeRates

CONFIDENCE: Final = 0.99
HORIZON_DAYS: Final = 10  # with 99 %, the measure of the Basel II market risk rules
WINDOW: Final = 5_000  # about twenty years: long enough to hold the crash of 2008
PATHS: Final = 25_000  # 64 to 113 ms of pure Python for three to seven currencies, measured on one core
METHODS: Final = ("historical_var", "monte_carlo_var")
_BASES: Final = ("EUR", "USD", "GBP", "CHF")
_SEED: Final = 1999


class Portfolio(msgspec.Struct, frozen=True):
    """A portfolio of currencies. ``shares`` are parts of the net value by currency, the largest first; a debt is
    negative."""

    base: str
    shares: list[tuple[str, float]]
    positions: list[dict[str, Any]]


class DemoJob(msgspec.Struct, frozen=True):
    """One task of the demo: ``portfolio`` is the number of the portfolio it judges."""

    portfolio: int
    action: str
    payload: dict[str, Any]


def build_jobs(count: int, rates: ExchangeRates) -> tuple[list[Portfolio], list[DemoJob]]:
    """``count`` jobs over half as many portfolios, historical simulation and Monte Carlo in turn."""
    row = rates.row(None)
    currencies = rates.currencies(row, WINDOW + HORIZON_DAYS)
    rng = Random(_SEED)
    portfolios = [_portfolio(rng, rates, row, currencies) for _ in range((count + 1) // 2)]
    jobs = [_job(number // 2, METHODS[number % 2], portfolios[number // 2]) for number in range(count)]
    return portfolios, jobs


def _portfolio(rng: Random, rates: ExchangeRates, row: int, currencies: list[str]) -> Portfolio:
    """Three to seven currencies worth 1 to 25 million of the base; every third portfolio owes the last of them."""
    base = rng.choice(_BASES)
    chosen = rng.sample([code for code in currencies if code != base], rng.randint(3, 7))
    weights = [rng.uniform(0.2, 1.0) for _ in chosen]
    if rng.random() < 1 / 3:
        weights[-1] = -rng.uniform(0.1, 0.3) * sum(weights[:-1])
    net = rng.uniform(1e6, 25e6)
    shares = [weight / sum(weights) for weight in weights]
    positions = [
        {"currency": code, "amount": float(round(share * net / rates.unit_values(code, base, row, 1)[0]))}
        for code, share in zip(chosen, shares, strict=True)
    ]
    ranked = sorted(zip(chosen, shares, strict=True), key=lambda part: -abs(part[1]))
    return Portfolio(base=base, shares=ranked, positions=positions)


def _job(number: int, action: str, portfolio: Portfolio) -> DemoJob:
    payload: dict[str, Any] = {
        "portfolio": portfolio.positions,
        "base": portfolio.base,
        "confidence": CONFIDENCE,
        "horizon_days": HORIZON_DAYS,
        "window": WINDOW,
    }
    if action == "monte_carlo_var":
        payload |= {"paths": PATHS, "seed": number}
    return DemoJob(portfolio=number, action=action, payload=payload)
