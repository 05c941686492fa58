"""Actions with answers that can be checked, and one function of this process that can be made to fail.

``FAULTS_DIR`` holds what is noted and what is armed; ``FAULTS_POINT`` names the function (``module:name`` or
``module:Class.name``);
``FAULTS_ROLE`` says where it fails (``zygote`` or ``worker``), ``FAULTS_ERROR`` what it raises: the name of an errno;
without one, something unexpected. A file ``armed`` makes it fail from its next call on, for as many nanoseconds as are
in there; the end of that is then in the file ``until``.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arbd import Provider
from arbd.rate_limit import SharedRateLimitMonitor

_directory = Path(os.environ["FAULTS_DIR"])
_ended = os.open(_directory / "ended", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

provider = Provider(name="faulty", execution_timeout=30)
register = provider.actions.register
over_the_host = SharedRateLimitMonitor(max_requests=20, window_size=0.5, name="faulty")


@register(name="work", payload_schema={"number": int, "text": str})
def work(number: int, text: str) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    os.write(_ended, f"{number}\n".encode())
    return {"number": number, "text": text, "digest": digest}


@register(name="slow", payload_schema={"number": int, "text": str})
def slow(number: int, text: str) -> dict[str, Any]:
    time.sleep(0.05)
    return work(number, text)


@register(name="limited", payload_schema={"number": int, "text": str}, rate_limit_monitor=over_the_host)
def limited(number: int, text: str) -> dict[str, Any]:
    return work(number, text)


@register(name="stubborn", payload_schema={"number": int, "text": str}, timeout=0.1)
def stubborn(number: int, text: str) -> dict[str, Any]:
    """Nothing but a kill ends it."""
    until = time.monotonic() + 60
    while (left := until - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except:  # noqa: E722 # what a careless author writes is the subject here
            pass
    return work(number, text)


def _is_to_fail() -> bool:
    now_ns = time.monotonic_ns()
    try:
        (_directory / "armed").rename(_directory / "begun")
    except FileNotFoundError:
        until = _directory / "until"
        return until.exists() and now_ns < int(until.read_text())
    (_directory / "ends").write_text(str(now_ns + int((_directory / "begun").read_text())))
    (_directory / "ends").rename(_directory / "until")
    return True


def _failing(function: Callable[..., Any], role: str, error: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        is_meant = Path("/proc/self/comm").read_text().startswith(f"arbd:{role}")
        if is_meant and _is_to_fail():
            with (_directory / "hits").open("a") as hits:
                hits.write("hit\n")
            if error:
                raise OSError(getattr(errno, error), "injected")
            raise RuntimeError("injected")
        return function(*arguments, **named)

    return call


if point := os.environ.get("FAULTS_POINT"):
    _module, _, _path = point.partition(":")
    *_owners, _name = _path.split(".")
    _place = functools.reduce(getattr, _owners, importlib.import_module(_module))
    setattr(_place, _name, _failing(getattr(_place, _name), os.environ["FAULTS_ROLE"], os.environ["FAULTS_ERROR"]))
if os.environ.get("FAULTS_BY_EXEC"):
    threading.Thread(target=threading.Event().wait, name="at-import", daemon=True).start()
