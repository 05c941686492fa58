"""The table of commands: which there are, and under which heading of ``arbd --help`` each stands.

A new command is a file ``arbd/cli/NAME.py`` and a word in this table: tests tell of one without the other. The order is
that of the help, of completion and of the manual.
"""

from __future__ import annotations

from typing import Final

STEERING: Final = "A running daemon"
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Start here": ("demo", "dev", "run"),
    STEERING: (
        *("status", "top", "limits", "events", "stacks", "trace", "profile"),
        *("drain", "resume", "pause", "kill"),
        *("reload", "scale", "replace", "log-level"),
    ),
    "Development": ("check", "schema", "config", "hub", "submit", "cancel", "bench"),
    "Machine": ("doctor", "install-units", "completion", "version"),
}

COMMANDS: Final = tuple(name for names in GROUPS.values() for name in names)
