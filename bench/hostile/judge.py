"""What came of a hostile campaign: who was hurt, and how much the innocent did in the time that was theirs. Pure.

A hostile task holds its worker from its beginning to its end; where the worker ends with it, until the next worker of
that slot is ready. The rest of the time belongs to the innocent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

import msgspec

from bench.hostile.marks import Mark
from bench.hostile.tasks import RIGHT


class Judgement(msgspec.Struct):
    """Innocent tasks that were ``wrong``, ``lost`` or run ``twice``, the first of them in words; and hostile ones
    without exactly one verdict (``unanswered``). ``per_second``: innocent tasks for each of the ``free_s`` seconds of
    workers that no hostile task held; ``held_s``: seconds that they held, by action."""

    innocent: int = 0
    hostile: int = 0
    wrong: int = 0
    lost: int = 0
    twice: int = 0
    unanswered: int = 0
    words: list[str] = []
    per_second: float = 0.0
    free_s: float = 0.0
    held_s: dict[str, float] = {}

    @property
    def hurt(self) -> int:
        """How many promises were broken."""
        return self.wrong + self.lost + self.twice + self.unanswered

    def say(self, words: str) -> None:
        """Note what was wrong."""
        self.words.append(words)


def judge(
    actions: Sequence[str],
    verdicts: Sequence[Sequence[str]],
    drawn: Iterable[str],
    marks: Collection[Mark],
    hostile: Collection[str],
) -> Judgement:
    """Judge a campaign. ``actions`` and ``verdicts`` of each task, the first has number 1; a verdict of a hostile task
    may be anything."""
    found = Judgement()
    began = Counter(mark.number for mark in marks if mark.word == "began")
    ended = Counter(mark.number for mark in marks if mark.word == "ended")
    for number, (action, given) in enumerate(zip(actions, verdicts, strict=True), 1):
        if action in hostile:
            found.hostile += 1
            if len(given) != 1:
                found.unanswered += 1
                found.say(f"{number} {action}: {len(given)} verdicts")
            continue
        found.innocent += 1
        before = found.hurt
        if not given:
            found.lost += 1
        elif len(given) > 1 or began[number] > 1 or ended[number] > 1:
            found.twice += 1
        elif given[0] != RIGHT:
            found.wrong += 1
        if found.hurt > before:
            found.say(f"{number} {action}: {list(given)}, began {began[number]}, ended {ended[number]}")
    for value, times in Counter(drawn).items():
        if times > 1:
            found.wrong += times - 1
            found.say(f"{times} tasks have drawn {value}")
    _measure(found, actions, marks, hostile)
    return found


def _measure(found: Judgement, actions: Sequence[str], marks: Collection[Mark], hostile: Collection[str]) -> None:
    by_slot: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        if mark.slot.startswith("worker"):
            by_slot[mark.slot].append(mark)
    began = [mark.at_ns for mark in marks if mark.word == "began"]
    if not began:
        return
    first_ns, last_ns = min(began), max(began)
    held: Counter[str] = Counter()
    for slot in by_slot.values():
        for action, from_ns, until_ns in _held(sorted(slot, key=lambda mark: mark.at_ns), actions, hostile, last_ns):
            held[action] += max(0, until_ns - max(from_ns, first_ns))
    free_ns = len(by_slot) * (last_ns - first_ns) - sum(held.values())
    done = sum(mark.word == "ended" and actions[mark.number - 1] not in hostile for mark in marks)
    found.free_s = free_ns / 1e9
    found.per_second = done / (free_ns / 1e9) if free_ns > 0 else 0.0
    found.held_s = {action: round(ns / 1e9, 3) for action, ns in held.most_common()}


def _held(
    marks: Sequence[Mark], actions: Sequence[str], hostile: Collection[str], last_ns: int
) -> Iterable[tuple[str, int, int]]:
    """The times that hostile tasks held a slot."""
    for at, mark in enumerate(marks):
        if mark.word != "began" or actions[mark.number - 1] not in hostile:
            continue
        until_ns = last_ns
        ended_ns = 0
        for later in marks[at + 1 :]:
            if later.pid == mark.pid and later.word == "ended" and later.number == mark.number:
                ended_ns = later.at_ns
            elif later.word == "ready" and later.pid != mark.pid:
                until_ns = later.at_ns
                break
            elif later.word == "began" and later.pid == mark.pid:
                until_ns = ended_ns or later.at_ns  # the worker goes on
                break
        yield actions[mark.number - 1], mark.at_ns, until_ns
