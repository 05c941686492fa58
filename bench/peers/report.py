"""The table, the figure and the Markdown of a run. Values in, text out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench.peers.record import Kill, Record, Row, Speed, Stage, best_broker

GOAL: Final = 10.0  # arbd over the stream, against the best peer with a broker, in the same run
ARBD: Final = "arbd"
COLUMNS: Final = (
    "peer, two workers",
    "trivial, tasks/s (results kept, not awaited)",
    "lowest to highest",
    "without results",
    "CPU of all, µs/task (caller + broker)",
    "one at a time, ms: p50 / p99",
    "5 ms tasks: share of both cores",
    "loop, limit over: error / all back, ms",
    "C call: the same",
)

Of = Callable[[Speed], float | None]


class Figure(msgspec.Struct, frozen=True):
    """``ratio``: arbd over the stream / the best rival, medians of their rounds."""

    what: str
    ratio: float
    rival: str

    @property
    def is_met(self) -> bool:
        return self.ratio >= GOAL

    def __str__(self) -> str:
        verdict = "met" if self.is_met else "MISSED"
        return f"{self.what}: {self.ratio:.1f} x {self.rival} (at least {GOAL:g}: {verdict})"


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The goal, seen in three ways; none if arbd or all its rivals were not run. arbd itself always keeps results."""
    named: tuple[tuple[str, Of, Of], ...] = (
        ("arbd over the stream, results awaited", _rate, _rate),
        ("the same, results kept and not awaited", _unawaited, _unawaited),
        ("the same, against peers that discard results", _unawaited, lambda speed: speed.rate_discarded),
    )
    found = []
    for what, ours, of in named:
        mine = next((row.median(ours) for row in rows if row.name == ARBD), None)
        rival = best_broker(rows, of)
        theirs = rival.median(of) if rival else None
        if rival and mine and theirs:
            found.append(Figure(what, mine / theirs, rival.about.title if rival.about else rival.name))
    return found


def _rate(speed: Speed) -> float:
    return speed.rate


def _unawaited(speed: Speed) -> float | None:
    return speed.rate_unawaited


def by_rate(rows: Sequence[Row]) -> list[Row]:
    """The fastest first."""
    return sorted(rows, key=lambda row: row.median(_rate) or 0.0, reverse=True)


def cells(row: Row, patience_s: float) -> list[str]:
    """One row of the table, as ``COLUMNS`` names it."""
    title = row.about.title if row.about else row.name
    rates = row.samples(_rate)
    if not rates:
        return [title, "failed" if row.failures else "-", *[""] * 7]
    unawaited = row.median(_unawaited)
    discarded = row.median(lambda speed: speed.rate_discarded)
    parts = [row.median(of) or 0.0 for of in (_cpu, lambda s: s.cpu_caller_us, lambda s: s.cpu_broker_us)]
    return [
        title,
        f"{statistics.median(rates):,.0f}" + (f" ({unawaited:,.0f})" if unawaited else ""),
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{discarded:,.0f}" if discarded else "-",
        "{:,.0f} ({:,.0f} + {:,.0f})".format(*parts),
        " / ".join(f"{(row.median(of) or 0.0) / 1e3:.2f}" for of in (lambda s: s.p50_us, lambda s: s.p99_us)),
        f"{row.median(lambda speed: speed.share) or 0.0:.2f}",
        _kill_cell(row, "hang_python", patience_s),
        _kill_cell(row, "hang_c", patience_s),
    ]


def _cpu(speed: Speed) -> float:
    return speed.cpu_us


def _kill_cell(row: Row, stage: Stage, patience_s: float) -> str:
    if row.about and row.about.limit_s is None:
        return "no limit"
    kills = row.kills.get(stage)
    if not kills:
        return "failed" if row.failures else "-"
    moments: tuple[Callable[[Kill], float | None], ...] = (lambda kill: kill.answered_ms, lambda kill: kill.back_ms)
    words = [_late([of(kill) for kill in kills], patience_s) for of in moments]
    return words[0] if words[0] == words[1] else " / ".join(words)


def _late(samples: Sequence[float | None], patience_s: float) -> str:
    known = [sample for sample in samples if sample is not None]
    if len(known) < len(samples):
        return f"never ({patience_s:g} s)"
    return f"{statistics.median(known):.0f}" if statistics.median(known) >= 10 else f"{statistics.median(known):.1f}"


def inner_note(rows: Sequence[Row]) -> str:
    """One task at a time by the hub's clock, which only arbd's tells."""
    told = [(row, row.median(lambda speed: speed.inner_p50_us)) for row in rows]
    parts = [f"{row.about.title} {inner / 1e3:.2f} ms" for row, inner in told if inner is not None and row.about]
    return f"one at a time from hub to hub, without the caller's two calls, p50: {', '.join(parts)}" if parts else ""


def notes(record: Record) -> list[str]:
    """What stands below the table: figures, the hub's view, failures."""
    found = [str(figure) for figure in figures(record.rows)]
    inner = inner_note(record.rows)
    if inner:
        found.append(inner)
    foreign = [share for row in record.rows for share in row.foreign]
    if foreign:
        found.append(f"other load: median {statistics.median(foreign):.1%} of all CPUs, at most {max(foreign):.1%}")
    return found + [f"{row.name} failed in {failure}" for row in record.rows for failure in row.failures]


def markdown(record: Record) -> str:
    """The table, the notes, the settings and the versions."""
    rows = by_rate(record.rows)
    lines = [
        f"Medians of {record.rounds} rounds, `make peers`; machine: "
        + ", ".join(f"{name} {value}" for name, value in record.machine.items()),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(cells(row, record.spans.patience_s))} |" for row in rows),
        "",
        *(f"- {note.splitlines()[0]}" for note in notes(record)),
        "",
        "| peer | versions | settings |",
        "|---|---|---|",
    ]
    for row in rows:
        if row.about:
            versions = ", ".join(f"{name} {version}" for name, version in row.about.versions.items()) or "Python's own"
            lines.append(f"| {row.about.title} | {versions} | {row.about.settings} |")
    return "\n".join(lines) + "\n"
