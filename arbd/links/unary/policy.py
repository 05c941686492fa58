"""The meaning of each gRPC status to a hub link: one table, every status code by both methods.

Not a scheduler: how long to wait is ``arbd.links.pace``. Pure; codes are names, so nothing here needs grpc.

    status is  what the link does
    ---------  ------------------------------------------------------------------------------------------
    ACCEPTED   the call did its work
    EMPTY      GetTask: there is no task now; no error
    SILENT     GetTask: nothing was heard before the deadline; poll again, on a new connection if the old
               one has been silent for the whole call
    RETRY      the hub or the way to it is in trouble: pause every call of this method, then the same again
    DEFER      the trouble may lie in this one result: put it aside for a while, let others go first
    REFUSED    the token: hardly ever call (``pace.TokenGate``), keep the result
    TOO_LARGE  send a smaller form of the result
    DROP       the hub can never accept this result: log it and let it go

Invariants: a result is given up only for DROP, and DROP stands only where the hub has said of this very message
that it is wrong or late. A code that may have another cause is DEFER: it costs one call a minute and loses nothing.
UNAVAILABLE does not mean "not processed": the same result is sent again, never another one in its place, and the
first verdict wins at the hub.
"""

from __future__ import annotations

import enum
import re
from typing import Final


class Method(enum.Enum):
    """The two calls of the Hub protocol."""

    GET_TASK = "GetTask"
    SUBMIT = "SubmitTaskResult"


class Disposition(enum.Enum):
    """What a status asks of the link; the table above says what each one means."""

    ACCEPTED = "accepted"
    EMPTY = "empty"
    SILENT = "silent"
    RETRY = "retry"
    DEFER = "defer"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    DROP = "drop"


_V = Disposition

TABLE: Final[dict[str, tuple[Disposition, Disposition]]] = {
    # code                  GetTask      SubmitTaskResult
    "OK":                  (_V.ACCEPTED, _V.ACCEPTED),
    "CANCELLED":           (_V.RETRY,    _V.RETRY),     # by the hub or a proxy, when it shuts down
    "UNKNOWN":             (_V.RETRY,    _V.DEFER),     # a hub's handler raised: perhaps because of this result
    "INVALID_ARGUMENT":    (_V.RETRY,    _V.DROP),
    "DEADLINE_EXCEEDED":   (_V.SILENT,   _V.DEFER),     # a result that hangs the hub must not hold up the others
    "NOT_FOUND":           (_V.EMPTY,    _V.DROP),      # the hub knows no such task (any more)
    "ALREADY_EXISTS":      (_V.RETRY,    _V.ACCEPTED),  # an earlier try got through, its answer did not
    "PERMISSION_DENIED":   (_V.REFUSED,  _V.DEFER),     # on a result: perhaps only this task is not ours
    "RESOURCE_EXHAUSTED":  (_V.RETRY,    _V.RETRY),     # push-back; "message too large" is told apart below
    "FAILED_PRECONDITION": (_V.RETRY,    _V.DROP),      # the task is in no state to take a result: too late
    "ABORTED":             (_V.RETRY,    _V.RETRY),
    "OUT_OF_RANGE":        (_V.RETRY,    _V.DROP),
    "UNIMPLEMENTED":       (_V.RETRY,    _V.RETRY),     # no hub there, or a hub being deployed
    "INTERNAL":            (_V.RETRY,    _V.DEFER),
    "UNAVAILABLE":         (_V.RETRY,    _V.RETRY),
    "DATA_LOSS":           (_V.RETRY,    _V.DEFER),
    "UNAUTHENTICATED":     (_V.REFUSED,  _V.REFUSED),
}  # fmt: skip

# How gRPC in C++, Go, Java, .NET and Rust say that a message is over the limit. C++ and Go: "message larger
# than max"; Java and .NET: "exceeds [the] [configured] maximum"; Rust: "message length too large".
_TOO_LARGE: Final = re.compile(r"larger than max|exceeds\b.{0,20}\bmaximum|message length too large", re.IGNORECASE)
_SIZE_CODES: Final = frozenset({"RESOURCE_EXHAUSTED", "OUT_OF_RANGE"})


def disposition(method: Method, code: str, details: str = "") -> Disposition:
    """What to do after a call of ``method`` ended with the status ``code`` (its name, such as ``UNAVAILABLE``).

    ``details`` only tells "message too large" from push-back; a GetTask *reply* that is too large is RETRY, because
    the task in it cannot be named. A code that gRPC does not define counts as ``UNKNOWN``.
    """
    if method is Method.GET_TASK:
        return TABLE.get(code, TABLE["UNKNOWN"])[0]
    if code in _SIZE_CODES and _TOO_LARGE.search(details):
        return Disposition.TOO_LARGE
    return TABLE.get(code, TABLE["UNKNOWN"])[1]
