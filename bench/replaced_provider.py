"""The provider of ``bench/test_replacement.py``: libraries at module top, and an action that says when it ran."""

from __future__ import annotations

import importlib
import os
import time
from contextlib import suppress

import numpy  # noqa: F401 # it is to be there when workers are forked

from arbd import Provider

with suppress(ImportError):  # the same, where it is installed
    importlib.import_module("sklearn.linear_model")

provider = Provider(name="replaced", execution_timeout=30)


@provider.actions.register(name="stamp")
def stamp() -> list[int]:
    """The process, and when the run began and ended."""
    begin_ns = time.monotonic_ns()
    return [os.getpid(), begin_ns, time.monotonic_ns()]
