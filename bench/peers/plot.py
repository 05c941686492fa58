"""The pictures of a run: bars for tasks per second, one task at a time, and the share inside the function."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.peers.record import Record, Row, Speed
from bench.peers.report import ARBD, by_rate

_MINE: Final = "#c2410c"
_BROKER: Final = "#4f6d8f"
_POOL: Final = "#a8b5c2"
_ROOM: Final = 12  # times the longest bar, for the labels on a logarithmic axis

Of = Callable[[Speed], float | None]


def draw(record: Record, base: Path) -> list[Path]:
    """Write ``base``.png and ``base``.svg. Raises ``ImportError`` without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "arbd", "font.size": 10})  # the same run gives the same file
    from matplotlib import pyplot

    rows = [row for row in reversed(by_rate(record.rows)) if row.speeds]
    figure, (rates, ones, shares) = pyplot.subplots(1, 3, figsize=(14, 0.9 + 0.42 * len(rows)), sharey=True)
    _bars(rates, rows, lambda speed: speed.rate, _rates)
    rates.set(xscale="log", title="trivial tasks/s from a full queue, results awaited\n(kept, not awaited)")
    _bars(ones, rows, lambda speed: speed.p50_us / 1e3, _ones)
    ones.set(xscale="log", title="one task at a time, ms, p50,\nuntil the caller has the result")
    _bars(shares, rows, lambda speed: speed.share, lambda row: f"{row.median(lambda speed: speed.share):.2f}")
    shares.set(xlim=(0, 1.25), title="5 ms CPU tasks: share of both cores\ninside the function")
    shares.axvline(1, color="black", linewidth=0.8)
    rates.set_yticks(range(len(rows)), [row.about.title if row.about else row.name for row in rows])
    _legend(figure, pyplot)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    files = [base.with_name(base.name + suffix) for suffix in (".png", ".svg")]
    figure.savefig(files[0], dpi=130)
    figure.savefig(files[1], metadata={"Date": None})
    pyplot.close(figure)
    return files


def _bars(axes: Any, rows: Sequence[Row], of: Of, label: Callable[[Row], str]) -> None:
    """One bar for each peer, the spread of its rounds as a line, its label beside it."""
    for place, row in enumerate(rows):
        samples = row.samples(of)
        middle = statistics.median(samples)
        spread = [[middle - min(samples)], [max(samples) - middle]]
        axes.barh(place, middle, color=_colour(row), xerr=spread, error_kw={"linewidth": 1, "ecolor": "#333333"})
        axes.annotate(label(row), (max(samples), place), (5, 0), textcoords="offset points", va="center")
    least, most = min(min(row.samples(of)) for row in rows), max(max(row.samples(of)) for row in rows)
    axes.set_xlim(least / 2, most * _ROOM)
    axes.spines[["top", "right"]].set_visible(False)


def _rates(row: Row) -> str:
    unawaited = row.median(lambda speed: speed.rate_unawaited)
    return f"{row.median(lambda speed: speed.rate):,.0f}" + (f" ({unawaited:,.0f})" if unawaited else "")


def _ones(row: Row) -> str:
    inner = row.median(lambda speed: speed.inner_p50_us)
    text = f"{(row.median(lambda speed: speed.p50_us) or 0.0) / 1e3:.2f}"
    return f"{text} (hub to hub {inner / 1e3:.2f})" if inner else text


def _colour(row: Row) -> str:
    if row.name.startswith(ARBD):
        return _MINE
    return _BROKER if row.about and row.about.has_broker else _POOL


def _legend(figure: Any, pyplot: Any) -> None:
    colours = {"arbd, through its hub": _MINE, "through Redis": _BROKER, "in the caller's process, no broker": _POOL}
    patches = [pyplot.Rectangle((0, 0), 1, 1, color=colour, label=label) for label, colour in colours.items()]
    figure.legend(handles=patches, loc="lower center", ncols=3, frameon=False)
