"""Records of the flight recorder, made by hand."""

from __future__ import annotations

from arbd.model.flight import Flight


def answered(action: str, status: str, run_ns: int, since_ns: int, now_ns: int) -> list[Flight]:
    """That of one task which came at ``since_ns`` (not 0), ran for so long, and was answered at ``now_ns``."""
    return [Flight("t", action, 0, 1, status, since_ns, 0, since_ns, 0, run_ns, now_ns)]
