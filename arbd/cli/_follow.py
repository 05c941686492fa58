"""Commands that a running daemon carries out: at once, or as an operation that is followed to its end.

    begun ─> --no-wait: say so, 0
         └─> ask again until it is over ─┬─> done: what it said last, 0
                                         └─> failed: what it said last, 1
Ctrl-C ends the following, never the operation: the daemon goes on with it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _show
from arbd.errors import EXIT_FAILURE, ControlError

if TYPE_CHECKING:
    from arbd.control.protocol import ControlRequest
    from arbd.control.reports import Operation

_FIRST_PAUSE_S: Final = 0.02  # most are over at once; then the daemon is asked less and less often
_LONGEST_PAUSE_S: Final = 0.25


def carry_out(path: Path, request: ControlRequest, as_json: bool) -> None:
    """Have the daemon at ``path`` carry out what it answers with ``Done``, and print what it says. Raises
    ``ControlError``."""
    from arbd.control.client import ask
    from arbd.control.protocol import Done

    done = ask(path, request, Done)
    if as_json:
        _show.json_document({"text": done.text})
    else:
        _show.say(done.text)


def follow(path: Path, operation: Operation, as_json: bool, wait: bool) -> None:
    """Follow an operation that the daemon at ``path`` has begun, and print how it ended; with ``wait`` off, print that
    it has begun. ``as_json``: the operation as one document instead. Raises ``ControlError`` if it failed, and what
    asking raises."""
    if wait:
        operation = to_its_end(path, operation)
    if as_json:
        _show.json_document(operation)
        if operation.state == "failed":
            click.get_current_context().exit(EXIT_FAILURE)
    elif operation.state == "failed":
        raise ControlError(operation.text)
    elif operation.state == "done":
        _show.say(operation.text)
    else:
        _show.say(f"{operation.kind} has begun: {operation.text}")


def to_its_end(path: Path, operation: Operation) -> Operation:
    """The operation when it is over; until then its progress is shown. Raises ``ControlError`` at Ctrl-C, and what
    asking raises."""
    if operation.state != "running":
        return operation

    from arbd.cli._progress import ProgressLine
    from arbd.control.client import ask
    from arbd.control.protocol import GetOperation, OperationReply

    pause_s = _FIRST_PAUSE_S
    try:
        with ProgressLine(operation.total) as line:
            while operation.state == "running":
                line.show(operation.done, operation.total, operation.text)
                time.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
                operation = ask(path, GetOperation(id=operation.id), OperationReply).operation
    except KeyboardInterrupt:
        raise ControlError(f"{operation.kind} goes on in the daemon: {operation.text}") from None
    return operation
