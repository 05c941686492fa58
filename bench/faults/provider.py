"""Actions whose answers can be checked, and which note when they begin and when they have done their work.

It stands alone, because ``bench.faults_campaign`` copies it, and breaks the copy now and then. The notes are single
lines appended to the file that ``FAULTS_MARKS`` names: ``began NUMBER PID PARENT`` and ``ended NUMBER PID PARENT``.
The file is opened at import, so that an action needs no descriptor for it.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, Final

from arbd import Provider
from arbd.rate_limit import SharedRateLimitMonitor

LATE_S: Final = 0.2
_BURN_S: Final = 0.005
_LINE: Final = "x" * 1000

provider = Provider(name="faults", execution_timeout=60)
register = provider.actions.register
over_the_host = SharedRateLimitMonitor(max_requests=10, window_size=1.0, name="faults")
_marks = os.open(os.environ["FAULTS_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _mark(word: str, number: int) -> None:
    os.write(_marks, f"{word} {number} {os.getpid()} {os.getppid()}\n".encode())


def _answer(payload: dict[str, Any], **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256((payload["nonce"] + payload.get("blob", "")).encode()).hexdigest()
    _mark("ended", payload["number"])
    return {"number": payload["number"], "nonce": payload["nonce"], "digest": digest, **more}


@register(name="echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    _mark("began", payload["number"])
    return _answer(payload)


@register(name="burn")
def burn(payload: dict[str, Any]) -> dict[str, Any]:
    """5 ms of CPU."""
    _mark("began", payload["number"])
    until = time.thread_time() + _BURN_S
    while time.thread_time() < until:
        pass
    return _answer(payload)


@register(name="large_in")
def large_in(payload: dict[str, Any]) -> dict[str, Any]:
    """Is given much, in ``blob``."""
    _mark("began", payload["number"])
    return _answer(payload)


@register(name="large_out")
def large_out(payload: dict[str, Any]) -> dict[str, Any]:
    """Gives much: its nonce so many ``times``."""
    _mark("began", payload["number"])
    return _answer(payload, blob=payload["nonce"] * payload["times"])


@register(name="late", timeout=LATE_S)
def late(payload: dict[str, Any]) -> dict[str, Any]:
    """Always too late, and ended by the worker's own timer."""
    _mark("began", payload["number"])
    time.sleep(60)
    return _answer(payload)


@register(name="stubborn", timeout=LATE_S)
def stubborn(payload: dict[str, Any]) -> dict[str, Any]:
    """Always too late, and nothing but a kill ends it."""
    _mark("began", payload["number"])
    until = time.monotonic() + 60
    while (left := until - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:  # the point of this action: nothing that is raised stops it
            continue
    return _answer(payload)


@register(name="limited", rate_limit_monitor=over_the_host)
def limited(payload: dict[str, Any]) -> dict[str, Any]:
    """Under a limit that the daemons of the host share by a file in the runtime directory."""
    _mark("began", payload["number"])
    return _answer(payload)


@register(name="chatty")
def chatty(payload: dict[str, Any], logger: Any) -> dict[str, Any]:
    """Logs more than anybody wants to read."""
    _mark("began", payload["number"])
    for _ in range(4):
        logger.info("chatter", text=_LINE)
    return _answer(payload)
