"""Time zones by name. ``UTC`` needs no time zone database, so a bare container can run a provider."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo


@cache
def zone(name: str) -> tzinfo:
    """The zone of an IANA name such as ``Europe/Moscow``. Raises ``ValueError`` if there is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:  # unknown; not a relative path; a directory such as "Europe"
        raise ValueError(f"no time zone is called {name!r}; use an IANA name such as 'Europe/Moscow'") from exc
