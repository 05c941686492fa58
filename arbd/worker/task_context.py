"""The context (``contextvars``) of each task: a copy of the worker's, so that what one sets there reaches no other.

A copy is cheap, 0.1 µs, and shares its values. The one that authors change in place is the context of ``decimal``:
where the worker has one, each task gets a copy of that, too (0.4 µs); where not, each makes its own.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Final

_DECIMAL: Final = "decimal_context"  # the name of the variable, in C and in Python


def of_tasks() -> Callable[[], contextvars.Context]:
    """What makes the context of a task. Called when the worker is ready: what there is now is for all of them."""
    base = contextvars.copy_context()
    variable = next((each for each in base if each.name == _DECIMAL), None)
    if variable is None:
        return base.copy
    precision = base[variable].copy()

    def fresh() -> contextvars.Context:
        context = base.copy()
        context.run(variable.set, precision.copy())
        return context

    return fresh
