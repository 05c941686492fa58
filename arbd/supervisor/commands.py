"""What answers the control socket: the one table from request to what the daemon does.

A handler does not block. What takes longer than a moment is begun as an operation (``arbd.supervisor.operations``), and
its number is the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from arbd.control import protocol, server
from arbd.control.protocol import Done, EventsReply, Failure, LimitsReply, OperationReply, StacksReply, StatusReply
from arbd.control.reports import NotableEvent, Operation
from arbd.logs import notable
from arbd.supervisor import native_stacks
from arbd.supervisor.flow import Flow
from arbd.supervisor.generations import Generations
from arbd.supervisor.log_level import LogLevelChange
from arbd.supervisor.operations import OperationFailed, Operations
from arbd.supervisor.profiling import Profiling
from arbd.supervisor.reload_operation import ReloadOperation
from arbd.supervisor.replacing import Replacing
from arbd.supervisor.reporter import Reporter
from arbd.supervisor.scaling import Scaling
from arbd.supervisor.stacks import Stacks
from arbd.supervisor.steering import Refused, Steering
from arbd.supervisor.tracing import Tracing


class Commands:
    """The commands of one daemon."""

    def __init__(
        self,
        flow: Flow,
        generations: Generations,
        reporter: Reporter,
        operations: Operations,
        steering: Steering,
        scaling: Scaling,
        log_level: LogLevelChange,
        stacks: Stacks,
    ) -> None:
        self._flow = flow
        self._generations = generations
        self._reporter = reporter
        self._operations = operations
        self._steering = steering
        self._scaling = scaling
        self._reload_operation = ReloadOperation(generations, flow.pool, operations)
        self._replacing = Replacing(flow.pool, operations)
        self._log_level = log_level
        self._stacks = stacks
        self._tracing = Tracing(flow)
        self._profiling = Profiling(stacks, operations, lambda: flow.actions)

    def handlers(self) -> server.Handlers:
        """What answers each request."""
        return {
            protocol.GetStatus: lambda _: StatusReply(report=self._reporter.status()),
            protocol.GetLimits: lambda _: LimitsReply(provider=self._reporter.provider, limits=self._reporter.limits()),
            protocol.GetEvents: self._get_events,
            protocol.GetOperation: self._get_operation,
            protocol.GetStacks: self._get_stacks,
            protocol.GetTrace: lambda request: self._tracing.page(request, self._reporter.provider),
            protocol.GetProfile: self._profiling.begin,
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
        action, steering = request.action, self._steering
        return _done(steering.resume if action is None else partial(steering.resume_action, action))

    def _pause_action(self, request: protocol.PauseAction) -> protocol.ControlReply:
        return _done(partial(self._steering.pause, request.action))

    def _kill(self, request: protocol.Kill) -> protocol.ControlReply:
        return _done(partial(self._steering.kill, request.task_id))

    def _set_log_level(self, request: protocol.SetLogLevel) -> protocol.ControlReply:
        self._log_level.set(request.level)
        return Done(text=f"lines of level {request.level} and above are written, until the next start")

    # -- what takes longer ---------------------------------------------------------------------------------

    def _drain(self, request: protocol.DrainDaemon) -> protocol.ControlReply:
        try:
            left = self._steering.drain()
        except Refused as error:
            return Failure(code="failed", message=str(error))
        return OperationReply(operation=self._operations.begin("drain", left, self._steering.follow))

    def _reload(self, _: protocol.Reload) -> protocol.ControlReply:
        return self._begun(self._reload_operation.begin)

    def _scale(self, request: protocol.Scale) -> protocol.ControlReply:
        return self._begun(partial(self._scaling.to, request.workers))

    def _replace(self, request: protocol.Replace) -> protocol.ControlReply:
        return self._begun(partial(self._replacing.begin, request.worker))

    def _begun(self, begin: Callable[[], Operation]) -> protocol.ControlReply:
        """The answer to a command that begins an operation; none begins once the daemon was told to stop."""
        try:
            self._steering.require_service()
            return OperationReply(operation=begin())
        except (OperationFailed, Refused) as error:
            return Failure(code="failed", message=str(error))


def _done(command: Callable[[], str]) -> protocol.ControlReply:
    """The answer to a command that is carried out at once."""
    try:
        return Done(text=command())
    except Refused as error:
        return Failure(code="failed", message=str(error))
