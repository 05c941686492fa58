"""Prometheus itself takes the alert rules of arbd, and each fires when it should and not before."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from documents import ROOT

FILES = ROOT / "systemd/observability"
PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    PROMTOOL is None and os.environ.get("TESTS_REQUIRE_PROMTOOL") != "1",
    reason="NOT TESTED: the alert rules by Prometheus; install Debian's prometheus, which has promtool",
)


def promtool(*words: str, cwd: Path = FILES) -> subprocess.CompletedProcess[str]:
    """Run it; what it says."""
    assert PROMTOOL is not None, "no promtool here: install Debian's prometheus"
    return subprocess.run([PROMTOOL, *words], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_the_rules_are_well_formed() -> None:
    checked = promtool("check", "rules", "arbd-alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_rule_fires_when_it_should_and_not_before() -> None:
    tested = promtool("test", "rules", "arbd-alerts-test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_never_fires_would_be_seen(tmp_path: Path) -> None:
    """The tests of the rules do test them."""
    for name in ("arbd-alerts.yml", "arbd-alerts-test.yml"):
        text = (FILES / name).read_text()
        assert "arbd_hub_up == 0" in text or "test" in name
        (tmp_path / name).write_text(text.replace("arbd_hub_up == 0", "arbd_hub_up == 7"))
    assert promtool("test", "rules", "arbd-alerts-test.yml", cwd=tmp_path).returncode != 0
