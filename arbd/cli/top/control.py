"""What keys and answers do: the state of ``arbd top`` between its terminal and the daemon. Pure.

    list ──p, d, r, k──> question ──y──> request        any other key: back to the list
      ├──s──> request ──its answer──> page of stacks
      └──?──> page of help                              a page: arrows scroll, q and Esc go back to the list

Nothing harmful is asked of the daemon without a question that names what it is about; what it names is kept with it,
whatever the daemon does until it is answered. Of another daemon, that was started in its place, it is not asked.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from arbd.cli.top.sightings import Sighting, Sightings, in_order
from arbd.control import protocol
from arbd.control.protocol import ControlReply, ControlRequest, Done, OperationReply, StacksReply
from arbd.control.reports import Operation, ProcessStacks, RunningTask, WorkerReport
from arbd.core.history import shown

MESSAGE_S: Final = 15.0  # for so long a message stays, or until the next key
_PAGE_ROWS: Final = 10
_MOST_OF_NAME: Final = 32  # characters of a name in a question, so that all of it fits into a line
_MOST_OF_LINE: Final = 400
HELP: Final = """\
up, down, j          select a worker or an action (also Ctrl-P, Ctrl-N, Page Up, Page Down, Home, End)
Tab                  from the workers to the actions and back

p                    pause the selected action, or the one that the selected worker runs; resume it
d                    drain the daemon: it takes no more tasks and finishes those it has; resume it
r                    replace the selected worker: the new one is ready before the old one leaves
k                    kill the task that the selected worker runs
s                    the Python stacks of the selected worker
?                    this page
q                    quit; the daemon goes on

p, d, r and k ask first: y does it, any other key does not. Everything is noted in the daemon's log.

tasks/s, busy, on cpu   of the last seconds; of the whole life of a worker or daemon that was just seen first
run                     how long the daemon expects a run to take: as long as the slowest of the last
used                    the part of a limit that is taken; at 100 % calls are turned away, or wait"""


class Selectable(NamedTuple):
    """Something that can be selected: the worker of a slot, or an action."""

    kind: Literal["worker", "action"]
    name: str
    slot: int = -1
    pid: int = 0


class Confirmation(NamedTuple):
    """What is asked before harm is done, and the request that follows a yes."""

    text: str
    request: ControlRequest


class Page(NamedTuple):
    """Lines that are read instead of the list, from line ``top`` on."""

    title: str
    lines: list[str]
    top: int = 0


class Message(NamedTuple):
    """What is told in the last lines, until ``until`` or the next key."""

    text: str
    is_bad: bool
    until: float


class Control:
    """The state of one ``arbd top``. ``is_over``: it was quit; ``trouble``: why there was no answer to the last look;
    ``operations``: those that were begun here and go on."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.selected: Selectable | None = None
        self.question: Confirmation | None = None
        self.page: Page | None = None
        self.message: Message | None = None
        self.operations: dict[int, Operation] = {}
        self.trouble = ""
        self.is_over = False

    # -- what the daemon says ------------------------------------------------------------------------------

    def looked(self, look: Sighting) -> None:
        """Take the answers of a look."""
        if not self.sightings.add(look):
            self._forget_the_other(look.at)
        self.trouble = ""
        for operation in look.operations:
            if operation.id in self.operations:
                self._follow(operation, look.at)
        self._keep_selection()

    def _forget_the_other(self, now: float) -> None:
        """What was begun or asked of another daemon: this one has nothing of it, and a yes was not meant for it."""
        self.operations.clear()
        if self.question is not None:
            self.question = None
            self._say("nothing was done: the daemon was started anew meanwhile", now, is_bad=True)

    def not_looked(self, reason: str) -> None:
        """Nobody answered a look."""
        self.trouble = reason

    def answered(self, reply: ControlReply, now: float) -> None:
        """Take the answer to a command."""
        if isinstance(reply, Done):
            self._say(reply.text, now)
        elif isinstance(reply, OperationReply):
            self.operations[reply.operation.id] = reply.operation
            self._follow(reply.operation, now)
        elif isinstance(reply, StacksReply):
            lines = [line for each in reply.stacks for line in _stack_lines(each)]
            self.page = Page("stacks", lines or ["there are none"])
            self.question = None

    def refused(self, reason: str, now: float) -> None:
        """A command was not carried out."""
        self._say(reason, now, is_bad=True)

    def _follow(self, operation: Operation, now: float) -> None:
        self.operations[operation.id] = operation
        if operation.state != "running":
            del self.operations[operation.id]
            self._say(f"{operation.kind}: {operation.text}", now, is_bad=operation.state == "failed")

    def _say(self, text: str, now: float, *, is_bad: bool = False) -> None:
        self.message = Message(text, is_bad, now + MESSAGE_S)

    # -- what is selected ----------------------------------------------------------------------------------

    def rows(self) -> list[Selectable]:
        """What can be selected, from top to bottom."""
        if not self.sightings:
            return []
        status = self.sightings.last.status
        workers = [Selectable("worker", "", each.slot, each.pid) for each in status.workers]
        taken = {each.slot for each in status.workers}
        empty = [Selectable("worker", "", each.slot) for each in status.out_of_service if each.slot not in taken]
        return [*workers, *empty, *(Selectable("action", each.name) for each in in_order(status.actions) if each.name)]

    def _keep_selection(self) -> None:
        """The selected row stays; where it is gone, its slot's next worker comes in its place, or else the first."""
        rows, was = self.rows(), self.selected
        if was in rows:
            return
        same = [
            row for row in rows if was is not None and (row.kind, row.name, row.slot) == (was.kind, was.name, was.slot)
        ]
        self.selected = next(iter([*same, *rows]), None)

    def _move(self, key: str) -> bool:
        rows = self.rows()
        if self.selected not in rows:
            return False
        at, last = rows.index(self.selected), len(rows) - 1
        actions = next((number for number, row in enumerate(rows) if row.kind == "action"), 0)
        to = {
            "up": at - 1,
            "down": at + 1,
            "j": at + 1,
            "page-up": at - _PAGE_ROWS,
            "page-down": at + _PAGE_ROWS,
            "home": 0,
            "end": last,
            "tab": 0 if at >= actions else actions,
            "back-tab": 0 if at >= actions else actions,
        }.get(key)
        if to is None:
            return False
        self.selected = rows[max(0, min(last, to))]
        return True

    # -- what is typed -------------------------------------------------------------------------------------

    def key(self, key: str, now: float) -> ControlRequest | None:
        """Take a key; the request that is to be sent for it."""
        self.message = None
        if self.question is not None:
            return self._answer(key, now)
        if self.page is not None:
            self._turn(self.page, key)
            return None
        if self._move(key):
            return None
        if key == "q":
            self.is_over = True
        elif key in ("?", "h"):
            self.page = Page("help", HELP.splitlines())
        elif not self.sightings:
            return None
        elif key == "p":
            return self._pause(now)
        elif key == "d":
            return self._drain()
        elif key in ("r", "k", "s"):
            return self._with_worker(key, now)
        return None

    def _answer(self, key: str, now: float) -> ControlRequest | None:
        question, self.question = self.question, None
        if key in ("y", "Y") and question is not None:
            return question.request
        self._say("nothing was done", now)
        return None

    def _turn(self, page: Page, key: str) -> None:
        if key in ("q", "esc", "enter", "?", "s"):
            self.page = None
            return
        step = {"up": -1, "down": 1, "j": 1, "k": -1, "page-up": -_PAGE_ROWS, "page-down": _PAGE_ROWS, " ": _PAGE_ROWS}
        ends = {"home": 0, "end": len(page.lines) - 1}
        top = ends.get(key, page.top + step.get(key, 0))
        self.page = page._replace(top=max(0, min(len(page.lines) - 1, top)))

    def _ask(self, text: str, request: ControlRequest) -> None:
        self.question = Confirmation(text, request)

    def _pause(self, now: float) -> ControlRequest | None:
        action = self._action()
        if not action:
            self._say("select an action (Tab), or a worker that runs one", now)
        elif any(each.action == action for each in self.sightings.last.status.paused):
            return protocol.Resume(action=action)
        else:
            self._ask(
                f"pause action {_named(action)}? Its tasks wait until it is resumed",
                protocol.PauseAction(action=action),
            )
        return None

    def _action(self) -> str:
        """The action that is meant."""
        if self.selected is None or self.selected.kind == "action":
            return self.selected.name if self.selected else ""
        task = self._task()
        return task.action if task else ""

    def _drain(self) -> ControlRequest | None:
        status = self.sightings.last.status
        if status.state not in ("draining", "drained"):
            self._ask("drain the daemon? It takes no more tasks until it is resumed", protocol.DrainDaemon())
        elif not status.paused:
            return protocol.Resume()
        else:
            paused = ", ".join(_named(each.action) for each in status.paused)
            self._ask(f"take tasks again? Paused actions run again, too: {paused}", protocol.Resume())
        return None

    def _with_worker(self, key: str, now: float) -> ControlRequest | None:
        row, task = self.selected, self._task()
        if row is None or row.kind != "worker":
            self._say("select a worker first (Tab)", now)
        elif key == "s":
            return protocol.GetStacks(worker=row.slot)
        elif key == "r":
            self._ask(
                f"replace worker {row.slot}? It finishes what it has, and loses no task",
                protocol.Replace(worker=row.slot),
            )
        elif task is None:
            self._say(f"worker {row.slot} runs no task", now)
        else:
            about = f"{_named(task.action)}, {task.elapsed_s:.1f} s"
            self._ask(f"kill task {_named(task.id)} ({about}) of worker {row.slot}?", protocol.Kill(task_id=task.id))
        return None

    def worker(self) -> WorkerReport | None:
        """The selected worker."""
        row = self.selected
        if row is None or row.kind != "worker":
            return None
        workers = self.sightings.last.status.workers
        return next((each for each in workers if (each.slot, each.pid) == (row.slot, row.pid)), None)

    def _task(self) -> RunningTask | None:
        worker = self.worker()
        return worker.running if worker else None


def _named(name: str) -> str:
    return shown(name, _MOST_OF_NAME)


def _stack_lines(each: ProcessStacks) -> list[str]:
    from arbd.logs.stack_lines import folded

    running = f", runs {each.task.action} ({each.task.id}) for {each.task.elapsed_s:.1f} s" if each.task else ""
    name = each.role if each.worker is None else f"worker {each.worker}"
    trouble = [f"-- {each.trouble}"] if each.trouble else []
    lines = [f"== {name} (pid {each.pid}{running})", *trouble, *folded(each.text).splitlines(), ""]
    return [shown(line, _MOST_OF_LINE) for line in lines]
