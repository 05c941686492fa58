"""The provider of ``bench/test_replacement.py``: libraries at module top, and an action that says when it ran."""

from __future__ import annotations

import os
import time

import numpy  # noqa: F401 # it is to be there when workers are forked

from arbd import Provider

try:
    import sklearn.linear_model  # noqa: F401 # the same, where it is installed
except ImportError:
    pass

provider = Provider(name="replaced", execution_timeout=30)


@provider.actions.register(name="stamp")
def stamp() -> list[int]:
    """The process, and when the run began and ended."""
    begin_ns = time.monotonic_ns()
    return [os.getpid(), begin_ns, time.monotonic_ns()]
