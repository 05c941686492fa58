"""W3C trace context: validation of a ``traceparent`` and its trace id. Source: https://www.w3.org/TR/trace-context/

00 - 4bf92f3577b34da6a3ce929d0e0e4736 - 00f067aa0ba902b7 - 01        versions after 00 may add "-" and more
version          trace id                   parent id      flags     ff is no version, and no id is all zeros
"""

from __future__ import annotations

import re
from typing import Final

# What a later version adds is bounded: it travels with each task, and must fit the smallest ring.
_FORM: Final = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-[!-~]{0,128})?"
)


def trace_id(traceparent: str) -> str:
    """The trace id in a ``traceparent``; empty if it is not valid, so that it is not passed on."""
    found = _FORM.fullmatch(traceparent)
    if found is None or (found["more"] is not None and found["version"] == "00"):
        return ""
    return found["trace"]
