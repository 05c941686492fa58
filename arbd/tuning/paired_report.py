"""The report of two builds by turns: a table, and what it says in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from arbd.tuning.compare import THROUGHPUT
from arbd.tuning.paired import PairedRecord, PairedRow, fewest_blocks
from arbd.tuning.report import show_point, show_time

COLUMNS: Final = ("", "there", "here", "here / there", "blocks from", "to", "p", "")


def headline(record: PairedRecord) -> str:
    """What was measured, with which settings, and how often."""
    return f"{record.setup.action}: {show_point(record.point)}; {len(record.blocks)} blocks of two runs of each build"


def rows(record: PairedRecord) -> list[tuple[str, ...]]:
    """The table, in the order of ``COLUMNS``."""
    return [
        (
            row.quantity,
            _shown(row, row.there),
            _shown(row, row.here),
            f"{row.ratio:.3f}",
            f"{row.lowest:.2f}",
            f"{row.highest:.2f}",
            f"{row.p:.4f}" if row.p >= 0.0001 else "<.0001",
            row.verdict.upper() if row.verdict == "slower" else row.verdict,
        )
        for row in record.rows
    ]


def notes(record: PairedRecord) -> Iterator[str]:
    """Notes on the table."""
    here, there = record.builds["here"], record.builds["there"]
    names = sorted(here.packages.keys() | there.packages.keys())
    packages = [(name, there.packages.get(name, "none"), here.packages.get(name, "none")) for name in names]
    for what, before, after in [("python", there.python, here.python), *packages]:
        if before != after:
            yield f"another {what}: {before} there, {after} here; the difference between the builds includes that"
    if not record.complete:
        yield "it was cut short: this is what the whole blocks by then say"


def verdict(record: PairedRecord) -> str:
    """What it says, in a sentence."""
    if not record.can_tell:
        return f"Too few blocks to tell slower from noise; use --repeat {fewest_blocks()} or more."
    slower = [f"{row.quantity} {row.ratio:.2f} times" for row in record.rows if row.verdict == "slower"]
    if slower:
        return f"This build is slower by more than noise: {', '.join(slower)}."
    faster = [f"{row.quantity} {row.ratio:.2f} times" for row in record.rows if row.verdict == "faster"]
    if faster:
        return f"This build is faster by more than noise: {', '.join(faster)}."
    return "No difference was found. That is not a proof that there is none: see how far the blocks lie apart."


def _shown(row: PairedRow, value: float) -> str:
    return f"{value:,.4g}" if row.quantity == THROUGHPUT.name else show_time(value)
