"""What ``arbd top`` asks the daemon, beside its terminal: a daemon that does not answer keeps no key from working.

    look() ──thread──> status, limits, events, operations ──> answers ──> taken by whoever waits on the bell
    command() ─thread─> one request                       ──┘

At most one look and one command are under way. What is raised in a thread is an answer, too.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from arbd.cli.top.rates import is_of_same_daemon
from arbd.cli.top.sightings import Sighting
from arbd.control import client, protocol
from arbd.control.protocol import ControlReply, ControlRequest, EventsReply, LimitsReply, OperationReply, StatusReply
from arbd.control.reports import Operation, StatusReport
from arbd.errors import ControlError
from arbd.host import cpu_times

LOOK_TIMEOUT_S: Final = 2.0  # then it is told that nobody answers; a command waits longer
_ANY: Final[Any] = (protocol.Done, protocol.OperationReply, protocol.StacksReply)


class Answer(NamedTuple):
    """What came of a look or a command: ``value``, or why there is none."""

    is_look: bool
    value: Sighting | ControlReply | None
    refusal: str = ""


class Looker:
    """Who looks at one daemon; not from two threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: StatusReport | None = None
        self._last_event = 0

    def look(self, operations: Iterable[int] = (), timeout_s: float = LOOK_TIMEOUT_S) -> Sighting:
        """One look. Raises ``ControlError``."""
        ask = partial(client.ask, self._path, timeout_s=timeout_s)
        cpus = cpu_times.read()
        at = time.monotonic()
        status = ask(protocol.GetStatus(), StatusReply).report
        if self._before is None or not is_of_same_daemon(self._before, status):
            self._last_event, operations = 0, ()
        self._before = status
        limits = ask(protocol.GetLimits(), LimitsReply).limits
        events = ask(protocol.GetEvents(after=self._last_event), EventsReply).events
        self._last_event = max([self._last_event, *(event.number for event in events)])
        followed = [self._follow(ask, each) for each in operations]
        return Sighting(at, status, limits, events, followed, cpus)

    def _follow(self, ask: Callable[..., Any], number: int) -> Operation:
        try:
            operation: Operation = ask(protocol.GetOperation(id=number), OperationReply).operation
        except ControlError as error:  # it is not known any more; what else is asked is of interest all the same
            return Operation(number, "operation", "failed", str(error))
        return operation


class Asking:
    """The looks and commands of one ``arbd top``. ``ring`` is called, from a thread, when there is an answer."""

    def __init__(self, path: Path, ring: Callable[[], None]) -> None:
        self._path = path
        self._looker = Looker(path)
        self._ring = ring
        self._answers: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()
        self.is_looking = False
        self.is_commanding = False

    def look(self, operations: Iterable[int]) -> None:
        """Begin a look, unless one is under way."""
        if not self.is_looking:
            self.is_looking = True
            self._begin(partial(self._looker.look, list(operations)), is_look=True)

    def command(self, request: ControlRequest) -> bool:
        """Begin a command; ``False``: one is under way."""
        if self.is_commanding:
            return False
        self.is_commanding = True
        self._begin(partial(client.ask, self._path, request, _ANY), is_look=False)
        return True

    def answers(self) -> list[Answer]:
        """Those that have come. Raises what a thread did not expect."""
        found: list[Answer] = []
        while not self._answers.empty():
            answer = self._answers.get()
            if isinstance(answer, BaseException):
                raise answer
            if answer.is_look:
                self.is_looking = False
            else:
                self.is_commanding = False
            found.append(answer)
        return found

    def _begin(self, work: Callable[[], Any], *, is_look: bool) -> None:
        threading.Thread(target=self._run, args=(work, is_look), daemon=True).start()  # it may be left waiting

    def _run(self, work: Callable[[], Any], is_look: bool) -> None:
        try:
            self._answers.put(Answer(is_look, work()))
        except ControlError as error:
            self._answers.put(Answer(is_look, None, str(error)))
        except BaseException as error:
            self._answers.put(error)
        self._ring()
