"""A SIGHUP that comes while a daemon starts does not end it; every other command ends with its terminal."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "survives"),
    [
        (["run", "provider.py"], True),
        (["--debug", "run", "provider.py"], True),
        (["dev", "provider.py"], True),
        (["hub"], False),
        (["submit", "run"], False),
        ([], False),
    ],
)
def test_a_hangup_ends_all_commands_but_those_that_reload(arguments: list[str], survives: bool) -> None:
    code = f"""
import os, signal
from arbd.host import hangup
hangup.survive({arguments!r})
os.kill(os.getpid(), signal.SIGHUP)
"""
    status = subprocess.run([sys.executable, "-c", code], timeout=60).returncode
    assert status == (0 if survives else -signal.SIGHUP)


def test_what_is_started_meanwhile_does_not_inherit_it() -> None:
    code = """
import subprocess, sys
from arbd.host import hangup
hangup.survive(["dev"])
child = subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"])
sys.exit(child.returncode == -1)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 1


def test_it_comes_before_whatever_takes_time() -> None:
    """Until it is called nothing is imported that the interpreter does not have anyway, but for these."""
    code = """
import sys
import runpy
before = set(sys.modules)
from arbd.host import hangup
print(*sorted(set(sys.modules) - before))
"""
    loaded = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True).stdout.split()
    assert set(loaded) <= {"__future__", "_signal", "arbd", "arbd.host", "arbd.host.hangup", "enum", "signal"}
