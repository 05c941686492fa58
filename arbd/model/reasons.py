"""Why tasks end with an error, in a word: a closed list, so that a metric by reason has as many series as it has words.

A response says more, but it is the author's and the caller's, and nobody but they decode it. So whoever makes a
response that is an error says the reason beside it: a worker in the record of its result, the supervisor itself.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

Reason = Literal[
    "returned",
    "exception",
    "invalid",
    "timeout",
    "cancelled",
    "worker_lost",
    "memory",
    "unknown_action",
    "too_large",
    "expired",
    "aborted",
    "no_resources",
    "bad_result",
    "other",
]
"""``returned``: the action's own error; ``exception``: it raised; ``invalid``: payload or account is not as the schema
says, so it was not run; ``bad_result``: what it returned cannot be sent."""

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
NUMBER_OF: Final[dict[Reason, int]] = {reason: number for number, reason in enumerate(REASONS)}

_OF_CODE: Final[dict[str, Reason]] = {
    "TIMEOUT": "timeout",
    "CANCELLED": "cancelled",
    "WORKER_LOST": "worker_lost",
    "MEMORY": "memory",
    "PAYLOAD_TOO_LARGE": "too_large",
    "EXPIRED": "expired",
    "ABORTED": "aborted",
    "NO_RESOURCES": "no_resources",
    "WORKER_EXHAUSTED": "no_resources",
}


def reason_of(data: Any) -> Reason:
    """The reason that the data of a response of arbd's own tells; not for those of authors."""
    if not isinstance(data, dict):
        return "other"
    if "available_actions" in data:
        return "unknown_action"
    return _OF_CODE.get(data.get("error_code", ""), "other")
