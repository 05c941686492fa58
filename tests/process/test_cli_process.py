"""``arbd`` as a real process: exit codes, clean output, nothing heavy imported for a light command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_"))}


def arbd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "arbd", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=ENVIRONMENT,
        check=False,
    )


PROVIDER = """
from arbd import Provider

provider = Provider(name="calc", auth_token="x", execution_timeout=0.5)

@provider.actions.register(name="add", payload_schema={"a": int, "b": int})
def add(a, b):
    return {"sum": a + b}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(PROVIDER)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["version"], 0),
        (["config"], 0),
        (["check", "good.py"], 0),
        (["schema", "good.py"], 0),
        (["check"], 2),
        (["check", "--no-such-option"], 2),
        (["check", "broken.py"], 70),
        (["check", "empty.py"], 78),
        (["check", "nowhere.py"], 78),
        (["config", "--workers", "0"], 78),
        (["config", "--config", "nowhere.toml"], 78),
    ],
)
def test_the_exit_code_says_what_happened(directory: Path, arguments: list[str], code: int) -> None:
    done = arbd(*arguments, cwd=directory)
    assert done.returncode == code, done.stderr
    assert bool(done.stdout) == (code == 0)
    assert bool(done.stderr) == (code != 0)


def test_a_broken_module_is_told_without_a_traceback_of_the_command_line(directory: Path) -> None:
    told = arbd("check", "broken.py", cwd=directory).stderr
    assert "nothing_of_that_name" in told
    assert "arbd/cli" not in told


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["config", "--json"]])
def test_a_light_command_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from arbd.cli import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\n"
        "heavy = {'grpc', 'rich', 'watchfiles', 'uvloop', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=ENVIRONMENT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_logging_imports_no_rich_and_leaves_it_importable() -> None:
    program = "import sys, arbd.logs; found = 'rich' in sys.modules; import rich; sys.exit(found)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
