"""The functions that every peer runs. They import nothing that any peer brings.

Two of them say what they did by appending to a file of the run's directory (``BENCH_PEERS_DIR``): an append is atomic,
whichever process or thread makes it, and whatever kills that one afterwards.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Final

from bench.peers.burn import burn

__all__ = ["burn", "discard", "hang_c", "hang_python", "meet", "quote", "tally"]

DIRECTORY: Final = "BENCH_PEERS_DIR"  # not ARBD_...: those are settings of the daemon, which refuses others
TALLY: Final = "tally"  # a byte for each call of ``tally`` or ``discard``
STARTS: Final = "starts"  # a line "what pid ns" for each hang and meeting; ns of the monotonic clock
_MEETING_S: Final = 20.0
_MEETING_LASTS_S: Final = 0.05
_LOOK_S: Final = 0.001


def quote(symbol: str, quantity: float, tags: list[str]) -> dict[str, bool]:
    """The trivial action: what arbd is measured with elsewhere. Only arbd checks the payload."""
    return {"ok": True}


def tally(symbol: str, quantity: float, tags: list[str]) -> dict[str, bool]:
    """The trivial action where nobody waits for results: it leaves a byte, so that one sees how many have run."""
    os.write(_file(TALLY), b".")
    return {"ok": True}


def discard(symbol: str, quantity: float, tags: list[str]) -> None:
    """The same for peers that can do without a result."""
    os.write(_file(TALLY), b".")


def hang_python() -> None:
    """A loop that never ends."""
    _say("hang")
    while True:
        pass


def hang_c() -> Any:
    """A C call that does not return to the interpreter within the patience of this benchmark."""
    _say("hang")
    return hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def meet(number: int) -> None:
    """Wait until so many calls of this function run at the same time: that many workers are there.

    It goes on for a while then, because a peer that learns how long its actions take may let short ones queue up behind
    one worker while another is being replaced, and that is not what is asked here.
    """
    _say("meet")
    place = Path(os.environ[DIRECTORY], STARTS)
    give_up_at = time.monotonic() + _MEETING_S
    while place.read_text().count("meet") < number:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{number} workers never were there at the same time")
        time.sleep(_LOOK_S)
    time.sleep(_MEETING_LASTS_S)


def _say(what: str) -> None:
    os.write(_file(STARTS), f"{what} {os.getpid()} {time.monotonic_ns()}\n".encode())


@functools.cache
def _file(name: str) -> int:
    return os.open(Path(os.environ[DIRECTORY], name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
