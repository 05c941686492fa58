"""SIGHUP during the start of a daemon: it does nothing, where its default would end the process.

Imports next to nothing, because it must come before everything that takes time. What the interpreter itself needs until
then cannot be covered: 20 ms on a machine with nothing else to do.
"""

from __future__ import annotations

import signal

_DAEMONS = ("run", "dev")


def survive(arguments: list[str]) -> None:
    """Have SIGHUP do nothing if these are the arguments of a daemon; every other command ends with its terminal.

    Not ignored, but handled by nothing: what is started meanwhile would inherit that it is ignored.
    """
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if command in _DAEMONS:
        signal.signal(signal.SIGHUP, lambda *_: None)
