"""What a campaign must have kept, judged from what came out: verdicts, the hub's histories, the actions' own notes.

Pure. The promises of each task:

* it has one verdict;
* the verdict is not falsified: a success has the right answer, and the action ran to its end; an error is one that a
  fault explains: ``WORKER_LOST`` where its worker was killed, ``TIMEOUT`` where the action always takes too long,
  ``ABORTED`` where a daemon ended;
* its action is begun at most once, and so runs to its end at most once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from arbd.hub.board import TaskEvent
from bench.faults.tasks import LIMIT, LIMITED, RIGHT, TOO_LATE


class Notes(msgspec.Struct):
    """What the actions noted of one task: the process that began it and its parent, each time; how often it ended."""

    began: list[tuple[int, int]] = []
    ended: int = 0


class Task(msgspec.Struct, frozen=True):
    """What is known of one task in the end. ``verdicts``: as its submitter saw them; ``events``: as the hub did."""

    number: int
    action: str
    verdicts: Sequence[str]
    events: Sequence[TaskEvent]
    notes: Notes


class Trouble(msgspec.Struct, frozen=True):
    """What explains errors: processes that were ended, or stopped for long, and whether a daemon has ended."""

    killed: Collection[int]
    daemon_ended: bool


class Judgement(msgspec.Struct):
    """What became of the promises. ``lost``, ``falsified``, ``repeated``: of how many tasks; ``broken``: in words."""

    lost: int = 0
    falsified: int = 0
    repeated: int = 0
    sent_again: int = 0
    broken: list[str] = []


def read_notes(lines: Iterable[str]) -> dict[int, Notes]:
    """The notes of each task, from the file of marks."""
    found: dict[int, Notes] = defaultdict(Notes)
    for line in lines:
        word, number, pid, parent = line.split()
        notes = found[int(number)]
        if word == "began":
            notes.began.append((int(pid), int(parent)))
        else:
            notes.ended += 1
    return found


def judge(tasks: Iterable[Task], trouble: Trouble) -> Judgement:
    """Look at every task."""
    judgement = Judgement()
    unseen = len(trouble.killed)  # so many tasks may have been lost before their action could note anything
    for task in tasks:
        judgement.sent_again += max(0, sum(event.kind == "result_duplicate" for event in task.events))
        if not task.verdicts:
            judgement.lost += 1
            judgement.broken.append(f"{_name(task)} has no verdict: {_story(task)}")
        if false := list(_falsified(task, trouble)):
            judgement.falsified += 1
            judgement.broken.append(f"{_name(task)}: {'; '.join(false)}: {_story(task)}")
        if again := list(_repeated(task)):
            judgement.repeated += 1
            judgement.broken.append(f"{_name(task)}: {'; '.join(again)}: {_story(task)}")
        unseen -= "WORKER_LOST" in task.verdicts and not task.notes.began
    if unseen < 0:
        judgement.falsified += -unseen
        judgement.broken.append(f"{-unseen} more tasks lost their worker before they began than were killed")
    return judgement


def _falsified(task: Task, trouble: Trouble) -> Iterator[str]:
    for verdict in task.verdicts:
        if not _is_explained(task, verdict, trouble):
            yield f"{verdict} cannot be"
    if len({event.status for event in task.events if event.status}) > 1:
        yield "two verdicts were sent that differ"


def _is_explained(task: Task, verdict: str, trouble: Trouble) -> bool:
    """Whether this may be the verdict."""
    began, ended = task.notes.began, task.notes.ended
    if verdict == RIGHT:
        return task.action not in TOO_LATE and ended == 1
    if verdict == LIMIT:
        return task.action in LIMITED and not began
    if verdict == "TIMEOUT":
        return task.action in TOO_LATE and not ended
    if verdict == "WORKER_LOST":
        return not began or any(pid in trouble.killed for pid in began[0])
    return verdict == "ABORTED" and trouble.daemon_ended


def _repeated(task: Task) -> Iterator[str]:
    if len(task.verdicts) > 1:
        yield f"it has {len(task.verdicts)} verdicts"
    if len(task.notes.began) > 1:
        yield f"it was begun {len(task.notes.began)} times"
    if task.notes.ended > 1:
        yield f"it ran to its end {task.notes.ended} times"


def _name(task: Task) -> str:
    return f"task {task.number} ({task.action})"


def _story(task: Task) -> str:
    events = " ".join(f"{event.kind}@{event.at:.1f}" for event in task.events)
    return f"{events}; begun by {[pid for pid, _ in task.notes.began]}, ended {task.notes.ended}"
