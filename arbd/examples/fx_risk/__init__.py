"""Value at risk of currency portfolios over the European Central Bank's reference rates. ``arbd demo`` runs it.

    action              what it computes                                                      timeout
    historical_var      today's portfolio meets every stretch of the past again               2 s
    monte_carlo_var     the same over futures drawn from real days; CPU-heavy on purpose     30 s
    convert             one amount at one day's rate; a trivial action, for load tests      0.5 s

The provider is this module's ``provider``: the TARGET is ``arbd.examples.fx_risk``. Rates are loaded once, at import,
before the workers are forked, and never change. The mathematics is in ``var.py``, the data in ``rates.py``.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec

from arbd import Provider
from arbd.errors import ProviderError
from arbd.examples.fx_risk import var
from arbd.examples.fx_risk.rates import load

RATES = load()

provider = Provider(name="fx-risk")

# Bounded so that no sum can overflow: the largest number here is worth 1e15 units of the dearest currency.
Amount = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]

TERMS_SCHEMA = {
    "portfolio": [{"currency": str, "amount": Amount}],
    "base": str | None,
    "confidence": Annotated[float, msgspec.Meta(ge=0.5, lt=1.0)] | None,
    "horizon_days": Annotated[int, msgspec.Meta(ge=1, le=250)] | None,
    "window": Annotated[int, msgspec.Meta(ge=20, le=10_000)] | None,
    "as_of": date | None,
}


class EmptyPortfolioError(ProviderError):
    """A portfolio without positions has no risk to compute."""


class Terms(msgspec.Struct, frozen=True):
    """What is asked: a portfolio and how to judge it. A key that is absent or null takes its default.

    ``amount`` is in units of its currency, negative for a debt. ``window`` counts the past moves that are used:
    stretches of the horizon (historical simulation) or days (Monte Carlo). ``as_of`` is the day of the last rate;
    default: the newest there is.
    """

    portfolio: list[dict[str, Any]]
    base: str = "EUR"
    confidence: float = 0.99
    horizon_days: int = 1
    window: int = 500
    as_of: date | None = None
    paths: int = 10_000
    seed: int = 0


@provider.actions.register(
    name="historical_var",
    description="Value at risk and expected shortfall of a currency portfolio by historical simulation",
    payload_schema=TERMS_SCHEMA,
    timeout=2,
)
def historical_var(payload: dict[str, Any]) -> dict[str, Any]:
    """Replay the last ``window`` stretches of ``horizon_days`` on today's portfolio."""
    terms = _terms(payload)
    row = RATES.row(terms.as_of)
    values, prices = _market(terms, row, terms.window + terms.horizon_days)
    losses = var.historical_losses(values, prices, terms.horizon_days)
    worst = max(range(len(losses)), key=losses.__getitem__)
    start = row - terms.window - terms.horizon_days + 1 + worst
    return _report(terms, row, values, sorted(losses)) | {
        "worst": {
            "loss": losses[worst],
            "from": RATES.days[start],
            "to": RATES.days[start + terms.horizon_days],
        }
    }


@provider.actions.register(
    name="monte_carlo_var",
    description="Value at risk and expected shortfall of a currency portfolio by Monte Carlo over real days",
    payload_schema=TERMS_SCHEMA
    | {
        "paths": Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] | None,
        "seed": int | None,
    },
    timeout=30,
)
def monte_carlo_var(payload: dict[str, Any]) -> dict[str, Any]:
    """Simulate ``paths`` futures of ``horizon_days`` out of the last ``window`` days. Same seed, same answer."""
    terms = _terms(payload)
    row = RATES.row(terms.as_of)
    values, prices = _market(terms, row, terms.window + 1)
    losses = var.bootstrap_losses(values, prices, terms.horizon_days, paths=terms.paths, seed=terms.seed)
    losses.sort()
    low, high = var.value_at_risk_interval(losses, terms.confidence)
    return _report(terms, row, values, losses) | {"var_95_percent_interval": [low, high], "seed": terms.seed}


@provider.actions.register(
    name="convert",
    description="Convert an amount at the ECB's reference rate of a day",
    payload_schema={"amount": Amount, "source": str, "target": str, "as_of": date | None},
    timeout=0.5,
)
def convert(amount: float, source: str, target: str, as_of: date | None = None) -> dict[str, Any]:
    """``amount`` of ``source`` in ``target``, at the last rates at or before ``as_of`` (default: the newest)."""
    row = RATES.row(as_of)
    (rate,) = RATES.unit_values(source, target, row, 1)
    return {"amount": amount * rate, "rate": rate, "as_of": RATES.days[row]}


def _terms(payload: dict[str, Any]) -> Terms:
    terms = Terms(**{key: value for key, value in payload.items() if value is not None})
    if not terms.portfolio:
        raise EmptyPortfolioError("The portfolio is empty: give at least one position")
    return terms


def _market(terms: Terms, row: int, count: int) -> tuple[list[float], list[list[float]]]:
    """What each position is worth at ``row`` in the base currency, and its unit's last ``count`` prices."""
    amounts: dict[str, float] = {}
    for position in terms.portfolio:
        currency = position["currency"]
        amounts[currency] = amounts.get(currency, 0.0) + position["amount"]
    prices = [RATES.unit_values(currency, terms.base, row, count) for currency in amounts]
    values = [amount * history[-1] for amount, history in zip(amounts.values(), prices, strict=True)]
    return values, prices


def _report(terms: Terms, row: int, values: list[float], ascending_losses: list[float]) -> dict[str, Any]:
    return {
        "base": terms.base,
        "value": sum(values),
        "var": var.value_at_risk(ascending_losses, terms.confidence),
        "expected_shortfall": var.expected_shortfall(ascending_losses, terms.confidence),
        "confidence": terms.confidence,
        "horizon_days": terms.horizon_days,
        "scenarios": len(ascending_losses),
        "as_of": RATES.days[row],
    }
