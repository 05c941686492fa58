"""The definition of an author's metric: what it is called, what it counts, and how the workers' values become one.

``problems`` is what may be wrong with one. It is asked where a metric is constructed, and again where definitions are
read out of a worker's memory, which is within reach of the author's code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Literal, get_args

import msgspec

MetricKind = Literal["counter", "gauge", "histogram"]
OverWorkers = Literal["sum", "max", "min", "last"]

RESERVED_PREFIX: Final = "arbd_"
MOST_LABELS: Final = 16
MOST_BUCKETS: Final = 200
MOST_NAME: Final = 200  # characters, of a metric and of a label
MOST_DOCUMENTATION: Final = 1000  # characters

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class MetricDefinition(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """The definition of one metric. ``name`` is without the ``_total`` of a counter; ``buckets`` are the upper bounds
    of a histogram, ascending, without infinity; ``over_workers`` is for gauges."""

    kind: MetricKind
    name: str
    documentation: str
    labelnames: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    over_workers: OverWorkers = "sum"

    @property
    def identity(self) -> tuple[object, ...]:
        """What two definitions have in common whose values can be added."""
        return self.kind, self.name, self.labelnames, self.buckets

    @property
    def cells(self) -> int:
        """How many numbers one series of it has: a counter's value; a gauge's, and when it was set last; a histogram's
        sum, and how many there were in each bucket and above the last."""
        return {"counter": 1, "gauge": 2, "histogram": len(self.buckets) + 2}[self.kind]

    @property
    def lines(self) -> int:
        """How many lines one series of it has where it is read: a histogram's are its buckets, sum and count."""
        return len(self.buckets) + 3 if self.kind == "histogram" else 1

    @property
    def claims(self) -> tuple[str, ...]:
        """The names that no other metric may have."""
        suffixes = {"counter": ("", "_total"), "gauge": ("",), "histogram": ("", "_bucket", "_sum", "_count")}
        return tuple(self.name + suffix for suffix in suffixes[self.kind])

    def __str__(self) -> str:
        labels = f" with labels {', '.join(self.labelnames)}" if self.labelnames else ""
        buckets = f" with {len(self.buckets)} buckets up to {self.buckets[-1]:g}" if self.buckets else ""
        return f"{self.kind}{labels}{buckets}"


def problems(definition: MetricDefinition) -> Iterator[str]:
    """One sentence for everything that is wrong with a definition of whatever values."""
    yield from _name_problems(definition)
    yield from _label_problems(definition)
    if not isinstance(definition.documentation, str) or len(definition.documentation) > MOST_DOCUMENTATION:
        yield f"documentation: needs a text of at most {MOST_DOCUMENTATION} characters"
    if definition.kind == "histogram":
        yield from _bucket_problems(definition.buckets)
    if definition.over_workers not in get_args(OverWorkers):
        known = ", ".join(get_args(OverWorkers))
        yield f"over_workers: {_shown(definition.over_workers)} is none of {known}"


def _name_problems(definition: MetricDefinition) -> Iterator[str]:
    name = definition.name
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MOST_NAME:
        yield (
            f"name: {_shown(name)} cannot be one; use letters, digits, _ and :, no digit first, at most "
            f"{MOST_NAME} characters"
        )
    elif name.startswith(RESERVED_PREFIX):
        yield f"name: {name!r} begins with {RESERVED_PREFIX}, which is for the daemon's own metrics; leave that out"


def _label_problems(definition: MetricDefinition) -> Iterator[str]:
    names = definition.labelnames
    if len(names) > MOST_LABELS:
        yield f"labelnames: {len(names)} are more than the {MOST_LABELS} that there may be"
    reserved = {"counter": (), "gauge": (), "histogram": ("le",)}[definition.kind]
    for label in names:
        if not isinstance(label, str) or not _LABEL.fullmatch(label) or len(label) > MOST_NAME:
            yield f"labelnames: {_shown(label)} cannot be one; use letters, digits and _, no digit first"
        elif label.startswith("__"):
            yield f"labelnames: {label!r} begins with __, which is for Prometheus itself; leave that out"
        elif label in reserved:
            yield f"labelnames: {label!r} is what a histogram's own label is called; use another name"
    if len({str(name) for name in names}) < len(names):
        yield "labelnames: one of them is there twice"


def _bucket_problems(buckets: tuple[float, ...]) -> Iterator[str]:
    if not buckets:
        yield "buckets: needs at least one upper bound below infinity"
    elif len(buckets) > MOST_BUCKETS:
        yield f"buckets: {len(buckets)} are more than the {MOST_BUCKETS} that there may be"
    elif not all(isinstance(bound, int | float) and math.isfinite(bound) for bound in buckets):
        yield "buckets: each upper bound needs to be a number"
    elif any(low >= high for low, high in pairwise(buckets)):
        yield "buckets: the upper bounds need to ascend, each one larger than the one before"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MOST_NAME else f"{text[:MOST_NAME]}..."
