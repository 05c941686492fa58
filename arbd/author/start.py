"""The implementation of ``provider.start()``, the last line of a script, which is reached in two processes.

in the user's own process ──> exec: python -m arbd run --script FILE     the same process, with a clean memory
in a zygote or a worker, which runs the script again ──> what that process goes on with, inside this call

That call never returns and never raises: code behind it, and ``with`` and ``finally`` around it, would run before the
first task, and close what the workers are about to use.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from arbd.author.refused import raise_kept
from arbd.errors import ConfigError

GoOn = Callable[[Any], NoReturn]
"""What a process goes on with when it has the provider; never returns."""

_loading = False
_go_on: GoOn | None = None


class StartReached(BaseException):
    """``provider.start()`` was called while a target was being loaded by somebody who goes on elsewhere; carries the
    provider."""

    def __init__(self, provider: object) -> None:
        super().__init__("provider.start() was reached")
        self.provider = provider


@contextmanager
def loading(go_on: GoOn | None = None) -> Iterator[None]:
    """Have ``start`` call ``go_on`` inside this block, or raise ``StartReached``."""
    global _loading, _go_on
    _loading, _go_on = True, go_on
    try:
        yield
    finally:
        _loading, _go_on = False, None


def _leave_loading() -> None:
    """Make this the state of a process that has loaded its code, though the call goes on inside of it."""
    for module in list(sys.modules.values()):
        try:
            spec = object.__getattribute__(module, "__dict__").get("__spec__")
        except AttributeError:
            continue
        # Where a module calls start() while it is imported, its import never ends; a thread of an action that imports
        # it again would wait for that.
        if getattr(spec, "_initializing", False):
            spec._initializing = False
    if (events := sys.modules.get("asyncio.events")) is not None:
        events._set_running_loop(None)  # where a coroutine called start(): its loop will not go on, another may run


def start(provider: object) -> NoReturn:
    """Replace this process by ``arbd run`` of the script it is running; inside ``loading`` see there. Raises
    ``ConfigError`` where there is no script."""
    if _loading:
        raise_kept()
        if _go_on is None or threading.current_thread() is not threading.main_thread():
            raise StartReached(provider)
        _leave_loading()
        _go_on(provider)
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
