"""Every command answers at once: what it imports takes little time, and nothing of what others need.

Measured is CPU time, so that what else runs on the machine counts less, and the least of a few starts. Where Python's
own start takes longer than it should, because cores are shared, so may ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from arbd.cli import COMMANDS

_LIMIT_S: Final = 0.15  # beside the interpreter's own start, which takes 25 ms where nothing else runs
_LIMIT_IN_STARTS: Final = 6
_STARTS: Final = 5
_HEAVY: Final = {"asyncio", "grpc", "google", "rich", "watchfiles", "uvloop", "structlog", "psutil", "ssl"}
_COMMANDS: Final = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
_ENVIRON: Final = {name: value for name, value in os.environ.items() if not name.startswith(("ARBD_", "PROVIDER_"))}


def cpu_s(*arguments: str, enough_s: float = 0.0, **more: str) -> float:
    """The least CPU time that Python has taken for this, started a few times, or until that was little enough."""
    times: list[float] = []
    while len(times) < _STARTS and min(times, default=1.0) > enough_s:
        nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)
        pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], _ENVIRON | more, file_actions=nowhere)
        usage = os.wait4(pid, 0)[2]
        times.append(usage.ru_utime + usage.ru_stime)
    return min(times)


@pytest.fixture
def enough_s() -> float:
    of_python = cpu_s("-c", "pass")
    return of_python + max(_LIMIT_S, _LIMIT_IN_STARTS * of_python)


@pytest.mark.alone
@pytest.mark.parametrize("arguments", _COMMANDS, ids=" ".join)
def test_a_command_explains_itself_at_once(arguments: list[str], enough_s: float) -> None:
    assert cpu_s("-m", "arbd", *arguments, enough_s=enough_s) <= enough_s


@pytest.mark.alone
@pytest.mark.parametrize("words", [[""], ["status", ""], ["run", "--"]], ids=" ".join)
def test_a_line_is_completed_at_once(words: list[str], enough_s: float) -> None:
    assert cpu_s("-m", "arbd", *words, enough_s=enough_s, _ARBD_COMPLETE="1") <= enough_s


@pytest.mark.parametrize("arguments", _COMMANDS, ids=" ".join)
def test_nothing_heavy_is_imported_for_it(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from arbd.cli import cli\n"
        "try:\n"
        f"    cli({arguments!r})\n"
        "finally:\n"
        f"    heavy = {_HEAVY!r} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=_ENVIRON,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
