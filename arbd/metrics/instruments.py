"""What an author has in hand: ``Counter``, ``Gauge`` and ``Histogram``, by the names that prometheus_client has for it.

A metric with labels is a family: ``labels(...)`` gives the one series that is updated. One without labels is its own
series. Updates take no lock. In one process they are not lost between threads either: Python changes threads and runs
signal handlers at calls and at the end of a loop, and between reading a value and storing the sum there is neither.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf, nan
from typing import Any, Final, NoReturn, Self

from arbd.errors import RegistrationError
from arbd.interrupts import uninterruptible
from arbd.metrics.around import Around
from arbd.metrics.registry import REGISTRY, Cells
from arbd.model.metric import MetricDefinition, MetricKind, OverWorkers

DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class _Metric:
    """A metric, or one series of a metric with labels.

    ``cells``: its values, in memory that is shared with whoever reads them. Constructing the same metric again, as a
    module does that is imported under two names, gives the one that there is.
    """

    __slots__ = ("__weakref__", "_children", "_definition", "_labelvalues", "_without_room", "cells")
    _kind: MetricKind

    cells: Cells
    _children: dict[tuple[str, ...], Self]
    _definition: MetricDefinition
    _labelvalues: tuple[str, ...]
    _without_room: Self | None

    @classmethod
    def _define(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str],
        parts: tuple[str, str, str],
        buckets: tuple[float, ...] = (),
        over_workers: OverWorkers = "sum",
    ) -> Self:
        frame = sys._getframe(2)
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        full_name = _full_name(cls._kind, name, *parts)
        labels = _labelnames(labelnames, cls._kind, place)
        definition = MetricDefinition(cls._kind, full_name, documentation, labels, buckets, over_workers)
        known = REGISTRY.known(definition, place)
        if isinstance(known, cls):
            return known
        self = cls._of(definition, ())
        REGISTRY.add(definition, place, self)
        if labels:
            self.cells = _NeedsLabels(definition)
        else:
            REGISTRY.join(definition, (), self)
        return self

    @classmethod
    def _of(cls, definition: MetricDefinition, labelvalues: tuple[str, ...]) -> Self:
        self = object.__new__(cls)
        self._definition = definition
        self._labelvalues = labelvalues
        self._children = {}
        self._without_room = None
        return self

    def labels(self, *labelvalues: object, **labelkwargs: object) -> Self:
        """The series with these values of its labels, in their order or by name; they are made texts. Raises
        ``ValueError`` if there are other labels."""
        if labelkwargs:
            labelvalues = self._in_order(labelvalues, labelkwargs)
        key = tuple(map(str, labelvalues))
        child = self._children.get(key)
        return self._new_child(key) if child is None else child

    def _in_order(self, labelvalues: tuple[object, ...], labelkwargs: dict[str, object]) -> tuple[object, ...]:
        names = self._definition.labelnames
        if labelvalues or labelkwargs.keys() != set(names):
            given = ", ".join(labelkwargs) + (f", and {len(labelvalues)} without a name" if labelvalues else "")
            raise ValueError(f"{self} has {self._its_labels()}; got {given}")
        return tuple(labelkwargs[name] for name in names)

    def _its_labels(self) -> str:
        names = self._definition.labelnames
        return f"the labels {', '.join(names)}" if names else "no labels"

    def _new_child(self, key: tuple[str, ...]) -> Self:
        if not self._definition.labelnames or self._labelvalues:
            raise ValueError(f"{self} has no labels to be given" + (" any more" if self._labelvalues else ""))
        if len(key) != len(self._definition.labelnames):
            raise ValueError(f"{self} has {self._its_labels()}; got {len(key)} values")
        child = self._of(self._definition, tuple(_utf8(value) for value in key))
        if REGISTRY.join(self._definition, child._labelvalues, child):
            return self._children.setdefault(key, child)
        if not REGISTRY.here[0]:
            return child
        # One for all: what has too many series would otherwise fill the memory of this process with them.
        self._without_room = self._without_room or child
        return self._without_room

    def _not_finite(self, value: object) -> None:
        REGISTRY.drop(self._definition.name, f"{value!r} is no finite number, and a sum would never be one again")

    def __repr__(self) -> str:
        labels = zip(self._definition.labelnames, self._labelvalues, strict=False)
        shown = ", ".join(f"{name}={value!r}" for name, value in labels)
        return f"{type(self).__name__}({self._definition.name!r}{', ' if shown else ''}{shown})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} counts in this process, and cannot be sent to another one")


class Counter(_Metric):
    """A number that only grows: what was done, what went wrong. It is read as ``NAME_total``, summed over workers.

    Raises :class:`~arbd.errors.RegistrationError` if its name, its labels or its documentation cannot be, or another
    metric has that name.
    """

    __slots__ = ()
    _kind = "counter"

    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
    ) -> Self:
        return cls._define(name, documentation, labelnames, (namespace, subsystem, unit))

    @uninterruptible
    def inc(self, amount: float = 1.0) -> None:
        """Add a number, by default one. Raises ``ValueError`` if it is negative."""
        if amount.__class__ is not float:
            amount = float(amount)
        if not 0.0 <= amount < inf:
            if amount < 0.0:
                raise ValueError(f"{self!r} is a counter, which only grows; got {amount:g}")
            self._not_finite(amount)
        elif REGISTRY.here[0]:
            self.cells[0] += amount

    def count_exceptions(self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception) -> Around:
        """A context manager and decorator that adds one for each exception of this kind that passes through."""

        def leave(_: object, raised: BaseException | None) -> None:
            if isinstance(raised, exception):
                self.inc()

        return Around(lambda: None, leave)

    @property
    def value(self) -> float:
        """What this process has counted, and the workers before it whose page it goes on with; for tests."""
        return self.cells[0]


class Gauge(_Metric):
    """A number that rises and falls: what is under way, how much there is.

    ``over_workers`` is how the workers' values become one: ``sum``; the largest, ``max``, or the smallest, ``min``, of
    those that have set one; ``last``: the one that was set last. A worker that has ended counts no more.

    Raises :class:`~arbd.errors.RegistrationError` as ``Counter`` does.
    """

    __slots__ = ()
    _kind = "gauge"

    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        over_workers: OverWorkers = "sum",
    ) -> Self:
        return cls._define(name, documentation, labelnames, (namespace, subsystem, unit), over_workers=over_workers)

    @uninterruptible
    def set(self, value: float) -> None:
        """Set it to this number."""
        value, now = float(value), time.monotonic()
        if REGISTRY.here[0]:
            self.cells[0] = value
            self.cells[1] = now

    @uninterruptible
    def inc(self, amount: float = 1.0) -> None:
        """Add a number, by default one."""
        amount, now = float(amount), time.monotonic()
        if REGISTRY.here[0]:
            self.cells[0] += amount
            self.cells[1] = now

    def dec(self, amount: float = 1.0) -> None:
        """Take a number away, by default one."""
        self.inc(-amount)

    def set_to_current_time(self) -> None:
        """Set it to the time of day, in seconds since 1970."""
        self.set(time.time())

    def track_inprogress(self) -> Around:
        """A context manager and decorator: one more while it runs."""
        return Around(self.inc, lambda *_: self.dec())

    def time(self) -> Around:
        """A context manager and decorator that sets it to the seconds that the block, the function or the coroutine has
        taken."""
        return Around(time.perf_counter, lambda begun, _: self.set(time.perf_counter() - begun))

    @property
    def value(self) -> float:
        """What this process has set; for tests."""
        return self.cells[0]


class Histogram(_Metric):
    """How often each size occurs: how long things take, how large they are. Summed over workers.

    ``buckets`` are upper bounds, ascending; the one for infinity is added. The default suits seconds.

    Raises :class:`~arbd.errors.RegistrationError` as ``Counter`` does.
    """

    __slots__ = ()
    _kind = "histogram"

    def __new__(
        cls,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        buckets: Sequence[float] = DEFAULT_BUCKETS,
    ) -> Self:
        return cls._define(name, documentation, labelnames, (namespace, subsystem, unit), buckets=_buckets(buckets))

    @uninterruptible
    def observe(self, amount: float) -> None:
        """Count a value in its bucket."""
        if amount.__class__ is not float:
            amount = float(amount)
        if not -inf < amount < inf:
            self._not_finite(amount)
        elif REGISTRY.here[0]:
            bucket = bisect_left(self._definition.buckets, amount) + 1
            self.cells[bucket] += 1.0
            self.cells[0] += amount  # second: there is never a sum of more than was counted

    def time(self) -> Around:
        """A context manager and decorator that counts the seconds that the block, the function or the coroutine has
        taken, also where it raises."""
        return Around(time.perf_counter, lambda begun, _: self.observe(time.perf_counter() - begun))

    @property
    def sum(self) -> float:
        """The sum of what this process has counted; for tests."""
        return self.cells[0]

    @property
    def count(self) -> float:
        """How many values this process has counted; for tests."""
        return sum((self.cells[cell] for cell in range(1, self._definition.cells)), 0.0)


class _NeedsLabels:
    """The values of a metric with labels that is used without."""

    def __init__(self, definition: MetricDefinition) -> None:
        self._definition = definition

    def __getitem__(self, _index: int) -> NoReturn:
        names = self._definition.labelnames
        values = ", ".join(f"{name}=..." for name in names)
        raise ValueError(
            f"the {self._definition.kind} {self._definition.name!r} has the labels {', '.join(names)}; say which "
            f"series: .labels({values})"
        )

    def __setitem__(self, index: int, _value: float) -> None:
        self[index]


def _full_name(kind: MetricKind, name: Any, namespace: str, subsystem: str, unit: str) -> Any:
    """The name with what was given beside it, as prometheus_client makes it; what is no text is refused later."""
    if not isinstance(name, str):
        return name
    full = "_".join([*(part for part in (namespace, subsystem) if part), name])
    full = full.removesuffix("_total") if kind == "counter" else full
    return full if not unit or full.endswith(f"_{unit}") else f"{full}_{unit}"


def _labelnames(labelnames: Iterable[str], kind: MetricKind, place: str) -> tuple[str, ...]:
    if isinstance(labelnames, str):  # a text is an iterable of its letters
        raise RegistrationError(
            f"a {kind} at {place} cannot be: labelnames: needs a list of names; got the text {labelnames!r}"
        )
    return tuple(labelnames)


def _buckets(buckets: Sequence[float]) -> tuple[float, ...]:
    """The bounds as numbers, without infinity at the end; what is no number is refused later."""
    bounds = tuple(float(each) if isinstance(each, int | float) else nan for each in buckets)
    return bounds[:-1] if bounds and bounds[-1] == inf else bounds


def _utf8(value: str) -> str:
    """A text that can be written: lone surrogates, which file names may have, become question marks."""
    return value.encode("utf-8", "replace").decode()
