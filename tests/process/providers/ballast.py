"""A module that keeps much in memory, as those with models or tables do, and an action that has it collected."""

from __future__ import annotations

import gc

from arbd import Provider

#: About 25 MB of objects that the garbage collector looks at.
TABLE = [{"number": number} for number in range(100_000)]

provider = Provider(name="ballast", execution_timeout=10)


@provider.actions.register(name="collect")
def collect() -> dict[str, int]:
    """A full collection, which writes to every object it looks at."""
    return {"unreachable": gc.collect()}


@provider.actions.register(name="echo")
def echo(number: int = 0) -> dict[str, int]:
    """As little as possible."""
    return {"number": number}
