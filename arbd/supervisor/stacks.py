"""Where every process of the daemon is: the Python stacks of supervisor, zygotes and workers, also of those that hang.

    supervisor            its own threads, and the coroutines of its event loop
    zygotes, workers      asked by a signal, all at once; whoever has not answered within ``ANSWER_S`` is told with why,
                          and with what the kernel says of it

Nothing waits for them but who has asked: the event loop turns meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from arbd.control.reports import ProcessStacks, RunningTask
from arbd.host import own_stacks, process_facts
from arbd.host.stack_dump import StackDump
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import links_of

ANSWER_S: Final = 0.06  # of the 100 ms in which a command has its answer
COROUTINES_S: Final = 0.02
_FIRST_LOOK_S: Final = 0.001  # a dump of one thread takes some 0.1 ms; then twice as long each time
_LONGEST_PAUSE_S: Final = 0.008
_MOST_TEXT: Final = 6 * 1024 * 1024  # characters in all; a reply has 16 MiB at most, and a line end takes two
_LEAST_TEXT: Final = 4 * 1024


class Asked(Protocol):
    """A process that can be asked: a worker, a zygote."""

    stacks: StackDump

    @property
    def pid(self) -> int:
        """The number of the process; 0: there is none yet."""

    def send_signal(self, signum: int) -> None:
        """Send it a signal. Raises ``ProcessLookupError`` if it has ended."""


class Subject(NamedTuple):
    """A process to ask, and what is known of it."""

    role: str
    process: Asked
    pid: int
    worker: int | None = None
    task: RunningTask | None = None


class Stacks:
    """The stacks of one daemon. ``workers``: those there are; ``running``: the task that one of them runs."""

    def __init__(
        self,
        workers: Callable[[], Iterable[Worker]] = tuple,
        running: Callable[[Worker], RunningTask | None] = lambda _: None,
    ) -> None:
        self._workers = workers
        self._running = running
        self._loop = asyncio.get_running_loop()

    def subjects(self, slot: int | None = None) -> list[Subject]:
        """The processes that can be asked; ``slot``: only workers of that one."""
        workers = sorted(self._workers(), key=lambda worker: (worker.slot, worker.id))
        of_workers = [
            Subject("worker", worker, worker.pid, worker.slot, self._running(worker))
            for worker in workers
            if worker.pid and slot in (None, worker.slot)
        ]
        zygotes = [Subject("zygote", link, link.pid) for link in links_of(self._loop)] if slot is None else []
        return zygotes + of_workers

    def workers(self) -> list[Subject]:
        """The workers among them, also those of a generation that is leaving."""
        return [subject for subject in self.subjects() if subject.worker is not None]

    async def take(self, slot: int | None = None) -> list[ProcessStacks]:
        """The stacks of every process, or of the workers of one slot."""
        subjects = self.subjects(slot)
        limit = max(_LEAST_TEXT, _MOST_TEXT // (len(subjects) + 1))
        found = [self._own(limit)] if slot is None else []  # first: while it waits for the others, it is elsewhere
        told = await _ask(subjects, limit)
        return found + [told[subject.pid] for subject in subjects]

    def _own(self, limit: int) -> ProcessStacks:
        text = f"{own_stacks.threads()}\n\n{own_stacks.coroutines(asyncio.all_tasks(self._loop))}"
        return ProcessStacks("supervisor", os.getpid(), None, text[:limit])


async def _ask(subjects: Iterable[Subject], limit: int) -> dict[int, ProcessStacks]:
    """Ask them, and wait until all have answered or the time is over; what is known of each, by process.

    An answer is read in the step in which it is found complete: somebody else may ask in the next one.
    """
    until, pause_s = time.monotonic() + ANSWER_S, _FIRST_LOOK_S
    told: dict[int, ProcessStacks] = {}
    waiting: list[Subject] = []
    adding: dict[int, float] = {}  # those that are asked for their coroutines, too: until when
    for subject in subjects:
        refused = subject.process.stacks.ask(subject.pid, subject.process.send_signal)
        if refused is None:
            waiting.append(subject)
        else:
            told[subject.pid] = _told(subject, refused, "")
    while waiting:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        is_over = time.monotonic() >= until  # before the look: on a busy machine the loop may come late
        still = []
        for subject in waiting:
            dump = subject.process.stacks
            if _is_complete(subject, adding) or is_over:
                dump.wait_no_more()
                told[subject.pid] = _told(subject, dump.why_not(subject.pid), dump.text(limit))
            else:
                still.append(subject)
        waiting = still
    return told


def _is_complete(subject: Subject, adding: dict[int, float]) -> bool:
    """Whether nothing more is to come of it: its threads, and then its coroutines, for which one that holds the GIL is
    not waited for long."""
    dump = subject.process.stacks
    if subject.pid in adding:
        return dump.has_more() or time.monotonic() >= adding[subject.pid]
    if not dump.is_done(subject.pid):
        return False
    if not dump.ask_for_coroutines(subject.pid, subject.process.send_signal):
        return True
    adding[subject.pid] = time.monotonic() + COROUTINES_S
    return False


def _told(subject: Subject, trouble: str | None, text: str) -> ProcessStacks:
    if trouble and (kernel := process_facts.where(subject.pid)):
        text = f"{text}\n\n{kernel}".strip("\n")
    return ProcessStacks(subject.role, subject.pid, subject.worker, text, subject.task, trouble)
