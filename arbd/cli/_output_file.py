"""A file that a command writes after it has waited for what goes into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbd.errors import ControlError


@contextmanager
def checked(out: Path) -> Iterator[None]:
    """See that a file can be written before the time is spent; if nothing comes of it, what was there stays, and what
    was not there is not left behind empty. Raises ``ControlError`` for what the file system says."""
    was_there = True
    try:
        was_there = out.exists()
        with out.open("ab"):
            pass
        yield
    except OSError as error:
        raise ControlError(f"{out}: cannot be written: {error.strerror or error}; name another file") from error
    except BaseException:
        if not was_there and out.stat().st_size == 0:
            out.unlink()
        raise
