"""The numbered tasks of a campaign, and what is the right answer to each. Pure.

A task is made from its number, and so is its right answer: nothing has to be kept to judge a result.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, Final

import msgspec

from arbd.hub.board import NewTask, Result

BATCH: Final = "campaign"
TOO_LATE: Final = frozenset({"late", "stubborn"})
"""Actions that never answer in time."""
LIMITED: Final = frozenset({"limited"})
"""Actions that may be refused by a limit."""
ACTIONS: Final = {
    "echo": 40,  # of a hundred
    "burn": 20,
    "large_in": 10,
    "large_out": 10,
    "limited": 10,
    "chatty": 7,
    "late": 2,
    "stubborn": 1,
}
_TIMES: Final = 1600  # a nonce of 64 characters so often: 100 KB, and what is above 64 KiB does not go through a ring

RIGHT: Final = "right"
WRONG: Final = "wrong"
LIMIT: Final = "limit"


class Tasks:
    """Makes the tasks of one campaign."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.made = 0
        self._chance = random.Random(seed)

    def make(self, action: str = "") -> NewTask:
        """The next task; of any action, or of this one."""
        action = action or self._chance.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        self.made += 1
        return NewTask(action, msgspec.json.encode(payload(self.seed, self.made, action)), id=str(self.made))


def payload(seed: int, number: int, action: str) -> dict[str, Any]:
    """What the task of this number is given."""
    nonce = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
    found: dict[str, Any] = {"number": number, "nonce": nonce}
    if action == "large_in":
        found["blob"] = nonce * _TIMES
    if action == "large_out":
        found["times"] = _TIMES
    return found


def right_answer(seed: int, number: int, action: str) -> dict[str, Any]:
    """What its action has to say."""
    given = payload(seed, number, action)
    nonce = given["nonce"]
    answer = {"number": number, "nonce": nonce}
    answer["digest"] = hashlib.sha256((nonce + given.get("blob", "")).encode()).hexdigest()
    if action == "large_out":
        answer["blob"] = nonce * _TIMES
    return answer


def verdict_of(seed: int, result: Result) -> str:
    """A result in a word: ``RIGHT``, ``WRONG``, ``LIMIT``, or the code or type of the error."""
    try:
        response = result.response
    except msgspec.MsgspecError:
        return WRONG
    if response.get("status") != result.status:
        return WRONG
    data = response.get("data")
    if result.status == "success":
        return RIGHT if data == right_answer(seed, int(result.id), result.action) else WRONG
    if result.status == "limit":
        return LIMIT
    said = data if isinstance(data, dict) else {}
    return str(said.get("error_code") or said.get("error_type") or response.get("message"))
