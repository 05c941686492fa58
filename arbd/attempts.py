"""Steps that are all made, whatever one of them raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def attempt_all(steps: Iterable[Callable[[], object]]) -> list[Exception]:
    """Make every step; what they raise."""
    failures: list[Exception] = []
    for step in steps:
        try:
            step()
        except Exception as exc:
            failures.append(exc)
    return failures
