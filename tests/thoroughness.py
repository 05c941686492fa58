"""How many examples Hypothesis tries: a quarter of what a thorough run tries (``make test-thorough``; CI, once).

The examples are the same in every run, so what a thorough run has passed, a quick one finds no more of: it is there to
find at once what a change breaks, and a quarter of the examples does.
"""

from __future__ import annotations

import os
from typing import Final

IS_THOROUGH: Final = os.environ.get("TEST_THOROUGHLY", "") not in ("", "0")  # not ARBD_...: those are settings


def examples(count: int) -> int:
    """Of so many examples in a thorough run, those to try in this one."""
    return count if IS_THOROUGH else count // 4
