"""What answers the control socket: the one table from request to what the daemon does.

A handler does not block. What takes longer than a moment is begun as an operation (``arbd.supervisor.operations``), and
its number is the answer.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from arbd.control import protocol, server
from arbd.control.protocol import EventsReply, Failure, LimitsReply, OperationReply, StacksReply, StatusReply
from arbd.control.reports import NotableEvent
from arbd.logs import notable
from arbd.supervisor import native_stacks
from arbd.supervisor.flow import Flow
from arbd.supervisor.generations import Generations
from arbd.supervisor.operations import Operations
from arbd.supervisor.reporter import Reporter
from arbd.supervisor.stacks import Stacks


class Commands:
    """The commands of one daemon."""

    def __init__(
        self, flow: Flow, generations: Generations, reporter: Reporter, operations: Operations, stacks: Stacks
    ) -> None:
        self._flow = flow
        self._generations = generations
        self._reporter = reporter
        self._operations = operations
        self._stacks = stacks

    def handlers(self) -> server.Handlers:
        """What answers each request."""
        return {
            protocol.GetStatus: lambda _: StatusReply(report=self._reporter.status()),
            protocol.GetLimits: lambda _: LimitsReply(provider=self._reporter.provider, limits=self._reporter.limits()),
            protocol.GetEvents: self._get_events,
            protocol.GetOperation: self._get_operation,
            protocol.GetStacks: self._get_stacks,
            protocol.DrainDaemon: self._drain,
            protocol.Resume: self._resume,
            protocol.PauseAction: self._pause_action,
            protocol.Reload: self._reload,
            protocol.Scale: self._scale,
            protocol.Replace: self._replace,
            protocol.Kill: self._kill,
            protocol.SetLogLevel: self._set_log_level,
        }

    # -- what is answered at once --------------------------------------------------------------------------

    def _get_events(self, request: protocol.GetEvents) -> protocol.ControlReply:
        now = time.monotonic()
        events = [
            NotableEvent(each.number, now - each.at, each.level, each.event, each.fields)
            for each in notable.recent(request.after)
        ]
        return EventsReply(events=events)

    def _get_operation(self, request: protocol.GetOperation) -> protocol.ControlReply:
        operation = self._operations.report(request.id)
        if operation is None:
            return Failure(code="failed", message=f"no operation {request.id} is known; only the last ones are kept")
        return OperationReply(operation=operation)

    def _get_stacks(self, request: protocol.GetStacks) -> server.Answer:
        if request.worker is not None and not self._stacks.subjects(request.worker):
            return Failure(code="failed", message=f"there is no worker {request.worker}; `arbd status` lists them")
        if not request.native:
            return self._take_stacks(request.worker)
        program = native_stacks.find()
        if program is None:
            return Failure(code="failed", message=native_stacks.MISSING)
        kind = "stacks" if request.worker is None else f"stacks of worker {request.worker}"
        look = partial(native_stacks.take, program, self._stacks.subjects(request.worker))
        return OperationReply(operation=self._operations.begin(kind, "asking py-spy", look))

    async def _take_stacks(self, worker: int | None) -> protocol.ControlReply:
        return StacksReply(stacks=await self._stacks.take(worker))

    def _resume(self, request: protocol.Resume) -> protocol.ControlReply:
        return _not_built(request)

    def _pause_action(self, request: protocol.PauseAction) -> protocol.ControlReply:
        return _not_built(request)

    def _kill(self, request: protocol.Kill) -> protocol.ControlReply:
        return _not_built(request)

    def _set_log_level(self, request: protocol.SetLogLevel) -> protocol.ControlReply:
        return _not_built(request)

    # -- what takes longer ---------------------------------------------------------------------------------

    def _drain(self, request: protocol.DrainDaemon) -> protocol.ControlReply:
        return _not_built(request)

    def _reload(self, request: protocol.Reload) -> protocol.ControlReply:
        return _not_built(request)

    def _scale(self, request: protocol.Scale) -> protocol.ControlReply:
        return _not_built(request)

    def _replace(self, request: protocol.Replace) -> protocol.ControlReply:
        return _not_built(request)


def _not_built(request: Any) -> protocol.ControlReply:
    return Failure(code="failed", message=f"{type(request).__name__} is not built yet")
