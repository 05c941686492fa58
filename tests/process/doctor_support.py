"""``arbd doctor`` as a process, and what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 40.0  # a bound for the test; what it takes is asserted where that matters


class Examined:
    """What it said of one case. ``text``: everything that it wrote."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        self.document: dict[str, Any] = json.loads(text) if text.startswith("{") else {}

    def levels(self, topic: str) -> dict[str, str]:
        """The level of each check of a topic that found something that is not good."""
        found = ((each["check"], each["level"]) for each in self.document["findings"])
        return {check: level for check, level in found if check.partition(".")[0] == topic and level != "ok"}

    def failures(self, topic: str) -> set[str]:
        """The checks of a topic that fail; on a busy machine a warning may be right."""
        return {check for check, level in self.levels(topic).items() if level == "fail"}

    def finding(self, check: str) -> dict[str, str]:
        """What this check found."""
        found: list[dict[str, str]] = [each for each in self.document["findings"] if each["check"] == check]
        assert found, f"nothing was found by {check}: {self.text}"
        return found[0]


def doctor(directory: Path, *arguments: str, env: dict[str, str] | None = None, as_json: bool = True) -> Examined:
    """Run it in this directory."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_", "HUB_"))}
    command = [sys.executable, "-m", "arbd", "doctor", *(["--json"] if as_json else []), *arguments]
    done = subprocess.run(
        command,
        cwd=directory,
        env=clean | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Examined(done.returncode, done.stdout or done.stderr)
