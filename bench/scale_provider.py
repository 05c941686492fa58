"""The provider of the scale benchmarks: as many actions as ``BENCH_ACTIONS`` says, and one that sleeps or echoes."""

from __future__ import annotations

import os
import time
from typing import Any

from arbd import Provider

_SCHEMA = {"symbol": str, "quantity": float, "tags": [str]}

provider = Provider(name="scale", execution_timeout=60)


def quote(symbol: str, quantity: float) -> dict[str, bool]:
    """As trivial as ``quote`` of ``bench/provider.py``."""
    return {"ok": True}


for number in range(int(os.environ.get("BENCH_ACTIONS", "1"))):
    provider.actions.register(name=f"quote-{number}", payload_schema=_SCHEMA)(quote)


@provider.actions.register(name="nap", payload_schema={"seconds": float})
def nap(seconds: float) -> None:
    """Sleep: time without CPU, so that two cores serve as for 64."""
    if seconds:
        time.sleep(seconds)


@provider.actions.register(name="echo", payload_schema={"text": str})
def echo(text: str) -> dict[str, Any]:
    """Bytes in, the same bytes out."""
    return {"text": text}
