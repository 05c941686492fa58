"""The provider of ``bench/test_control.py`` and ``bench/test_exit.py``: actions that hang in one C call, for hours."""

from __future__ import annotations

import ctypes
import hashlib
import itertools

from arbd import Provider

provider = Provider(name="stuck", execution_timeout=3600)


@provider.actions.register(name="holding")
def holding() -> int:
    """Without letting go of the interpreter: no other thread of the worker runs, no signal is looked at."""
    return sum(itertools.repeat(0, 10**15))


@provider.actions.register(name="computing")
def computing() -> str:
    """Outside of the interpreter: other threads run."""
    return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1).hex()


@provider.actions.register(name="waiting")
def waiting() -> int:
    """As ``holding``, asleep."""
    return int(ctypes.PyDLL(None).sleep(36_000))
