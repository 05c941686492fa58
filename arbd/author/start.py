"""The implementation of ``provider.start()``, the last line of a script, which is reached in two processes.

in the user's own process ──> exec: python -m arbd run --script FILE     the same process, with a clean memory
in a zygote, which runs the script again ──> StartReached: here is the provider
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from arbd.errors import ConfigError

_loading = False


class StartReached(BaseException):
    """``provider.start()`` was called while a target was being loaded; carries the provider."""

    def __init__(self, provider: object) -> None:
        super().__init__("provider.start() was reached")
        self.provider = provider


@contextmanager
def loading() -> Iterator[None]:
    """Have ``start`` raise ``StartReached`` inside this block."""
    global _loading
    _loading = True
    try:
        yield
    finally:
        _loading = False


def start(provider: object) -> NoReturn:
    """Replace this process by ``arbd run`` of the script it is running. Raises ``StartReached`` inside ``loading``, and
    ``ConfigError`` where there is no script."""
    if _loading:
        raise StartReached(provider)
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    # `python -m package` runs the module package.__main__; `python directory` a file that is no module.
    module = spec.name if spec is not None else "__main__"
    place = module if module != "__main__" else getattr(main, "__file__", None)
    if place is None:
        raise ConfigError(
            [
                "provider.start() needs a script or a module to run in its own processes, and this is an interactive "
                "session; put the provider into a file, or try it with arbd.testing"
            ]
        )
    sys.stdout.flush()
    sys.stderr.flush()
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # what multiprocessing uses too
    # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
    command = [sys.executable, *flags, "-P", "-m", "arbd", "run", "--script", place, "--", *sys.argv[1:]]
    os.execv(sys.executable, command)
