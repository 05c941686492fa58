"""The numbered tasks of a hostile campaign, and what is the right answer to each. Pure.

A task is made from its number and the seed, and so is its right answer.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from arbd.hub.board import NewTask, Result

BATCH: Final = "hostile"
RIGHT: Final = "right"


class Tasks:
    """Makes the tasks of one campaign. ``innocent``: actions with their shares; ``hostile``: actions that come in turn,
    each round in another order, one in every ``every`` tasks; 0: none."""

    def __init__(self, seed: int, innocent: Mapping[str, int], hostile: Sequence[str], every: int) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self._names, self._shares = list(innocent), list(innocent.values())
        self._hostile = list(hostile)
        self._every = every
        self._round: list[str] = []
        self.actions: list[str] = []

    def make(self) -> NewTask:
        """The next task."""
        number = len(self.actions) + 1
        payload: dict[str, Any]
        if self._every and number % self._every == 0:
            self._round = self._round or self._chance.sample(self._hostile, len(self._hostile))
            action, payload = self._round.pop(), {"number": number}
        else:
            action = self._chance.choices(self._names, self._shares)[0]
            payload = {"number": number, "nonce": nonce(self._seed, number)}
        self.actions.append(action)
        return NewTask(action, msgspec.json.encode(payload), id=str(number))


def nonce(seed: int, number: int) -> str:
    """What only this task is told."""
    return hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()


def verdict_of(seed: int, result: Result) -> tuple[str, str]:
    """The verdict of an innocent task: ``RIGHT``, or what is wrong with it in words; and what it has drawn, if it
    has."""
    try:
        response: dict[str, Any] = result.response
    except msgspec.MsgspecError:
        return "no JSON", ""
    data = response.get("data")
    if result.status != "success" or not isinstance(data, dict):
        said = data if isinstance(data, dict) else {}
        code = said.get("error_code") or said.get("error_type")
        return f"{code}: {response.get('message')}", ""
    digest = hashlib.sha256(nonce(seed, int(result.id)).encode()).hexdigest()
    if data.get("digest") != digest:
        return "the answer of another task", ""
    return "; ".join(data.get("changed", ["nothing said"])) or RIGHT, str(data.get("drawn", ""))
