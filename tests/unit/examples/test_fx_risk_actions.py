"""The fx-risk actions, run as a worker runs them, agree with numpy reading the ECB's file, and refuse clearly."""

from __future__ import annotations

import io
import random
import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from arbd.examples import fx_risk
from arbd.model.task import Task
from arbd.worker.execute import Context, execute

Matrix = npt.NDArray[np.float64]

AS_OF = "2022-06-30"
PORTFOLIO = [
    {"currency": "USD", "amount": 1_000_000},
    {"currency": "JPY", "amount": 80_000_000.0},
    {"currency": "GBP", "amount": -250_000.0},
    {"currency": "USD", "amount": 500_000.0},
    {"currency": "EUR", "amount": 300_000.0},
]
AMOUNTS = {"USD": 1_500_000.0, "JPY": 80_000_000.0, "GBP": -250_000.0, "EUR": 300_000.0}


@pytest.fixture(scope="module")
def context() -> Context:
    def run_async(*_: object) -> None:
        raise AssertionError("no action here is async")

    return Context(fx_risk.provider, utc_now=lambda: datetime.now(UTC), run_async=run_async)


def respond(context: Context, action: str, payload: dict[str, Any]) -> dict[str, Any]:
    status, encoded = execute(context, Task("t1", action, msgspec.json.encode(payload)), deadline=0.0)
    response: dict[str, Any] = msgspec.json.decode(encoded)
    assert response["status"] == status
    return response


def data(context: Context, action: str, payload: dict[str, Any]) -> dict[str, Any]:
    response = respond(context, action, payload)
    assert response["status"] == "success", response
    result: dict[str, Any] = response["data"]
    return result


@pytest.fixture(scope="module")
def ecb() -> dict[str, Matrix]:
    """The ECB's columns up to AS_OF, oldest first, read by numpy and by nothing of ours."""
    spec = find_spec("currency_converter")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).with_name("eurofxref-hist.zip")) as archive:
        text = archive.read("eurofxref-hist.csv").decode()
    header = text.partition("\n")[0].rstrip(",").split(",")
    lines = np.genfromtxt(io.StringIO(text), delimiter=",", dtype=str, skip_header=1)
    lines = lines[lines[:, 0] <= AS_OF][::-1]
    columns = {code: lines[:, at] for at, code in enumerate(header)}
    return {
        code: np.where(columns[code] == "N/A", "nan", columns[code]).astype(float) for code in ("USD", "JPY", "GBP")
    }


def market(ecb: dict[str, Matrix], base: str, days: int) -> tuple[Matrix, Matrix]:
    """Values of the positions and prices of their units (one row for each day), in ``base``."""
    euro = ecb | {"EUR": np.ones(len(ecb["USD"]))}
    prices = np.column_stack([euro[base][-days:] / euro[code][-days:] for code in AMOUNTS])
    return prices[-1] * np.array(list(AMOUNTS.values())), prices


def shortfall(losses: Matrix, confidence: float) -> float:
    """Rockafellar and Uryasev: the expected shortfall is the least value of this function, taken at a quantile."""
    candidates = np.unique(losses)[:, None]
    return float((candidates[:, 0] + np.maximum(losses - candidates, 0.0).mean(axis=1) / (1.0 - confidence)).min())


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"base": "USD", "confidence": 0.975, "horizon_days": 10, "window": 1_000},
        {"base": "GBP", "confidence": 0.95, "horizon_days": 5, "window": 2_500},
    ],
)
def test_historical_var_agrees_with_an_independent_computation(
    context: Context, ecb: dict[str, Matrix], terms: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"base": "EUR", "confidence": 0.99, "horizon_days": 1, "window": 500} | terms
    base, confidence, horizon_days, window = asked.values()
    values, prices = market(ecb, base, window + horizon_days)
    moves = np.log(prices[horizon_days:]) - np.log(prices[:-horizon_days])
    losses = -np.expm1(moves) @ values

    result = data(context, "historical_var", {"portfolio": PORTFOLIO, "as_of": AS_OF, **terms})

    assert result["value"] == pytest.approx(values.sum(), rel=1e-9)
    assert result["var"] == pytest.approx(np.quantile(losses, confidence, method="inverted_cdf"), rel=1e-9)
    assert result["expected_shortfall"] == pytest.approx(shortfall(losses, confidence), rel=1e-9)
    assert result["worst"]["loss"] == pytest.approx(losses.max(), rel=1e-9)
    assert (result["base"], result["scenarios"], result["as_of"]) == (base, window, AS_OF)


def test_monte_carlo_var_agrees_with_an_independent_computation_on_the_same_draws(
    context: Context, ecb: dict[str, Matrix]
) -> None:
    window, horizon_days, paths, seed = 750, 10, 3_000, 11
    values, prices = market(ecb, "EUR", window + 1)
    stream = random.Random(seed)
    draws = np.array([int(stream.random() * window) for _ in range(paths * horizon_days)])
    moves = np.diff(np.log(prices), axis=0)[draws].reshape(paths, horizon_days, -1).sum(axis=1)
    losses = -np.expm1(moves) @ values
    terms = {"horizon_days": horizon_days, "window": window, "paths": paths, "seed": seed}

    result = data(context, "monte_carlo_var", {"portfolio": PORTFOLIO, "as_of": AS_OF, **terms})

    assert result["var"] == pytest.approx(np.quantile(losses, 0.99, method="inverted_cdf"), rel=1e-9)
    assert result["expected_shortfall"] == pytest.approx(shortfall(losses, 0.99), rel=1e-9)
    low, high = result["var_95_percent_interval"]
    assert low < result["var"] < high
    assert (result["scenarios"], result["seed"]) == (paths, seed)


def test_monte_carlo_over_one_day_finds_the_historical_value_at_risk(context: Context) -> None:
    terms = {"portfolio": PORTFOLIO, "as_of": AS_OF, "window": 1_000}
    historical = data(context, "historical_var", terms)
    simulated = data(context, "monte_carlo_var", terms | {"paths": 40_000, "seed": 3})
    assert simulated["var"] == pytest.approx(historical["var"], rel=0.05)
    assert simulated["expected_shortfall"] == pytest.approx(historical["expected_shortfall"], rel=0.05)


def test_worst_stretch_is_named_by_its_days(context: Context) -> None:
    # The Swiss National Bank gave up its floor of 1.20 francs per euro on 15 January 2015.
    terms = {"portfolio": [{"currency": "CHF", "amount": -1_000_000}], "as_of": "2016-12-30", "window": 1_000}
    worst = data(context, "historical_var", terms)["worst"]
    assert (worst["from"], worst["to"]) == ("2015-01-14", "2015-01-15")


def test_cash_in_the_base_currency_has_no_risk(context: Context) -> None:
    result = data(context, "historical_var", {"portfolio": [{"currency": "USD", "amount": 5}], "base": "USD"})
    assert (result["value"], result["var"], result["expected_shortfall"]) == (5.0, 0.0, 0.0)


def test_null_takes_the_default(context: Context) -> None:
    bare = {"portfolio": PORTFOLIO, "as_of": AS_OF}
    nulls = dict.fromkeys(("base", "confidence", "horizon_days", "window"))
    assert data(context, "historical_var", bare | nulls) == data(context, "historical_var", bare)


def test_convert_looks_up_the_last_rate_at_or_before_the_day(context: Context) -> None:
    # 1 January 1999 had no rate yet; 9 January 1999 was a Saturday.
    payload = {"amount": 2, "source": "EUR", "target": "USD", "as_of": "1999-01-09"}
    assert data(context, "convert", payload) == {"amount": 2 * 1.1659, "rate": 1.1659, "as_of": "1999-01-08"}


@pytest.mark.parametrize(
    ("changes", "error_type", "words"),
    [
        ({"portfolio": []}, "EmptyPortfolioError", "portfolio is empty"),
        ({"base": "XAU"}, "UnknownCurrencyError", "Unknown currency 'XAU'"),
        ({"portfolio": [{"currency": "usd", "amount": 1}]}, "UnknownCurrencyError", "Unknown currency 'usd'"),
        ({"portfolio": [{"currency": "EEK", "amount": 1}]}, "MissingRateError", "between 1999-01-04 and 2010-12-31"),
        ({"portfolio": [{"currency": "ISK", "amount": 1}], "window": 2_000}, "ShortHistoryError", "ISK has"),
        ({"window": 9_999}, "ShortHistoryError", "smaller window"),
        ({"as_of": "1998-12-31"}, "MissingRateError", "the first are of 1999-01-04"),
    ],
)
def test_what_cannot_be_computed_is_an_error_that_says_why(
    context: Context, changes: dict[str, Any], error_type: str, words: str
) -> None:
    for action in ("historical_var", "monte_carlo_var"):
        response = respond(context, action, {"portfolio": PORTFOLIO, "as_of": AS_OF, **changes})
        assert response["status"] == "error"
        assert response["data"]["error_type"] == error_type
        assert words in response["message"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"portfolio": [{"currency": "USD"}]}, "Missing key: portfolio[0].amount"),
        ({"portfolio": [{"currency": "USD", "amount": "12"}]}, "portfolio[0].amount"),
        ({"portfolio": [{"currency": "USD", "amount": 1e300}]}, "portfolio[0].amount"),
        ({"confidence": 1.0}, "confidence"),
        ({"horizon_days": 0}, "horizon_days"),
        ({"window": 500.5}, "window"),
        ({"as_of": "last friday"}, "as_of"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused_with_its_path(
    context: Context, changes: dict[str, Any], error: str
) -> None:
    response = respond(context, "historical_var", {"portfolio": PORTFOLIO, **changes})
    assert response["message"] == "Payload validation failed"
    (found,) = response["data"]["errors"]
    assert error in found


def test_actions_have_timeouts_of_their_own() -> None:
    timeouts = {name: action.timeout for name, action in fx_risk.provider.actions.items()}
    assert timeouts == {"historical_var": 2, "monte_carlo_var": 30, "convert": 0.5}
