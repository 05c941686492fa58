"""W3C trace context: validation of ``traceparent`` and ``tracestate``, and the ids in the former. Source:
https://www.w3.org/TR/trace-context/

00 - 4bf92f3577b34da6a3ce929d0e0e4736 - 00f067aa0ba902b7 - 01        versions after 00 may add "-" and more
version          trace id                   parent id      flags     ff is no version, and no id is all zeros

Inside of arbd both travel as one text, ``traceparent`` or ``traceparent tracestate``: one that has no state, or no
context at all, costs nothing more for it.
"""

from __future__ import annotations

import re
from typing import Final

# What a later version adds is bounded: it travels with each task, and must fit the smallest ring.
_FORM: Final = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-[0-9a-f]{2}"
    r"(?P<more>-[!-~]{0,128})?"
)
_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MOST_MEMBERS: Final = 32
_MOST_OF_STATE: Final = 512  # characters; so many must be passed on, and it has to fit the smallest ring


def trace_id(traceparent: str) -> str:
    """The trace id in a ``traceparent``; empty if it is not valid, so that it is not passed on."""
    return ids(traceparent)[0]


def ids(traceparent: str) -> tuple[str, str]:
    """The trace id and the id of the parent span in a ``traceparent``; empty if it is not valid."""
    found = _FORM.fullmatch(traceparent)
    if found is None or (found["more"] is not None and found["version"] == "00"):
        return "", ""
    return found["trace"], found["span"]


def valid_state(tracestate: str) -> str:
    """What of a ``tracestate`` is passed on: all of it, without the members at its end that are too many or do not fit;
    nothing, if it is none."""
    if len(tracestate) > 64 * _MOST_OF_STATE:
        return ""
    members = [stripped for member in tracestate.split(",") if (stripped := member.strip(" \t"))]
    if not all(map(_MEMBER.fullmatch, members)) or len({each.partition("=")[0] for each in members}) != len(members):
        return ""
    kept = members[:_MOST_MEMBERS]
    while len(text := ",".join(kept)) > _MOST_OF_STATE:
        kept.pop()
    return text


def joined(traceparent: str, tracestate: str) -> str:
    """Both as the one text that travels inside of arbd; empty without a valid ``traceparent``."""
    if not trace_id(traceparent):
        return ""
    state = valid_state(tracestate) if tracestate else ""
    return f"{traceparent} {state}" if state else traceparent
