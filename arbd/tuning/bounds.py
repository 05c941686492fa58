"""What a run measured when it was not the settings: a rate limit of the author's, or the benchmark's own hub. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from arbd.control.reports import LimitReport
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.words import calls_per_second
from arbd.tuning.record import Sample

_CLOSE: Final = 0.15  # of a limit's rate: a burst at the beginning, a busy machine
_STEPS: Final = 2  # a window begins and ends between two tasks
_USED_UP: Final = 0.9
_HUB_BUSY: Final = 0.85  # of one CPU: it has one thread for all


def limit_rate(limits: Iterable[LimitSpec], action: str) -> float | None:
    """The most calls in a second that the limits on this action allow, as far as they are known beforehand; an action's
    own limit takes the place of the provider's."""
    known = list(limits)
    own = [spec for spec in known if spec.scope == "action" and action in spec.actions]
    counted = own or [spec for spec in known if spec.scope == "provider"]
    return min((rate for spec in counted if (rate := calls_per_second(spec.rates)) is not None), default=None)


def binding_limit(limits: Iterable[LimitReport], action: str, tasks: int, window_s: float) -> str:
    """The rule of the limit that was at its bound when so many tasks were done in this time; empty: none was."""
    near = _CLOSE + _STEPS / tasks
    for limit in limits:
        if limit.scope == "action" and action not in limit.actions:
            continue
        is_near = limit.rate is not None and abs(tasks / window_s / limit.rate - 1) <= near
        if is_near or (limit.rate is None and limit.usage >= _USED_UP):
            return limit.rule
    return ""


def measured_limit(samples: Sequence[Sample]) -> str:
    """The rule of the limit that most of these samples measured; empty: none."""
    found = [sample.limit for sample in samples if sample.limit]
    return found[0] if 2 * len(found) > len(samples) else ""


def measured_hub(samples: Sequence[Sample]) -> bool:
    """Whether most of these samples measured how much the benchmark's hub can do."""
    busy = [sample for sample in samples if sample.hub_busy >= _HUB_BUSY]
    return 2 * len(busy) > len(samples)
