"""The system calls that a unit allows, as systemd's own tool says."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from unit_text import Unit


def require_tools(*names: str) -> None:
    """Skip the test, loudly, where systemd's tools are missing; where they are required (CI), fail."""
    missing = ", ".join(name for name in names if not shutil.which(name))
    if missing and os.environ.get("TESTS_REQUIRE_SYSTEMD"):
        pytest.fail(f"{missing} not found, and TESTS_REQUIRE_SYSTEMD is set")
    if missing:
        pytest.skip(f"THE SYSTEMD UNITS ARE NOT CHECKED: {missing} not found (Debian: apt install systemd)")


def allowed_calls(unit: Unit) -> set[str]:
    """What ``SystemCallFilter=`` leaves: the groups of the first line, without those of the second."""
    allowed, denied = unit.all("SystemCallFilter")
    return calls_of(allowed) - {call for word in denied.removeprefix("~").split() for call in calls_of(word)}


def calls_of(word: str) -> set[str]:
    """A system call, or all of a group."""
    if not word.startswith("@"):
        return {word}
    said = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, timeout=60)
    members = [line.strip() for line in said.stdout.splitlines()[1:] if line.strip() and "#" not in line]
    return {call for member in members for call in calls_of(member)}
