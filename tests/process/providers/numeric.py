"""Actions whose results are no plain JSON."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from arbd import Provider

provider = Provider(name="numeric", execution_timeout=0.3)
register = provider.actions.register


@register(name="mixed", timeout=10)
def mixed() -> dict[str, Any]:
    return {"n": np.int64(7), "row": np.arange(3) / 2, "path": Path("/a"), "range": range(2), np.str_("key"): np.True_}


@register(name="gap", timeout=10)
def gap() -> dict[str, Any]:
    return {"rates": np.array([1.0, float("nan")]), "none": None}


@register(name="own", timeout=0.2)
def own() -> None:
    time.sleep(60)


@register(name="default")
def default() -> None:
    time.sleep(60)


@register(name="stuck", timeout=0.2)
def stuck() -> None:
    """No soft deadline gets it out of there."""
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue
