"""SIGHUP, SIGUSR1 and SIGUSR2 during the start of a daemon: they do nothing, where their default would end the process.

Imports next to nothing, because it must come before everything that takes time. What the interpreter itself needs until
then cannot be covered: 20 ms on a machine with nothing else to do.
"""

from __future__ import annotations

import signal

_DAEMONS = ("run", "dev")
_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def survive(arguments: list[str]) -> None:
    """Have them do nothing if these are the arguments of a daemon; every other command ends with its terminal.

    Not ignored, but handled by nothing: what is started meanwhile would inherit that it is ignored.
    """
    if command_in(arguments) in _DAEMONS:
        for signum in _SIGNALS:
            signal.signal(signum, do_nothing)


def command_in(arguments: list[str]) -> str:
    """The command that these arguments name; empty if they name none."""
    return next((argument for argument in arguments if not argument.startswith("-")), "")


def do_nothing(*_: object) -> None:
    """Handle a signal, until the daemon has a handler of its own for it."""
