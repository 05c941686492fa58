"""What systemd's own tools say of the files that ``arbd install-units`` writes. No service manager runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import invoke
from unit_calls import allowed_calls, require_tools
from unit_text import UNITS, Unit

EXPOSURE = 1.5
#: What a daemon needs at its start, of the kinds that sandboxes forbid.
NEEDED = (
    *("sched_setaffinity", "prlimit64", "setrlimit", "memfd_create", "pidfd_open", "pidfd_send_signal", "prctl"),
    *("setpgid", "eventfd2", "timer_create", "futex", "inotify_init1", "clone3", "get_mempolicy", "set_mempolicy"),
)


@pytest.fixture(autouse=True, scope="module")
def tools() -> None:
    require_tools("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")


def run(*command: str | Path, runtime: Path) -> str:
    """What a command prints, which succeeds and complains of nothing on standard error."""
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "SYSTEMD_LOG_LEVEL": "notice"}
    done = subprocess.run([*map(str, command)], env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize(("manager", "options"), [("system", []), ("user", ["--user"])])
def test_the_units_verify(root: Path, manager: str, options: list[str]) -> None:
    command = ["install-units", "--root", str(root), "--arbd", sys.executable, *options]
    assert invoke(*command).exit_code == 0
    unit = root / f"etc/systemd/{manager}/arbd@.service"
    run("systemd-analyze", f"--{manager}", "verify", unit.with_name("arbd@prices.service"), runtime=root)


def test_the_sandbox_is_closed_enough(root: Path) -> None:
    threshold = f"--threshold={EXPOSURE * 10:g}"
    said = run("systemd-analyze", "security", "--offline=true", threshold, UNITS / "arbd@.service", runtime=root)
    assert "OK" in said.splitlines()[-1]


@pytest.mark.parametrize("call", NEEDED)
def test_what_a_daemon_needs_is_allowed(call: str, root: Path, allowed: set[str]) -> None:
    assert call in allowed


@pytest.mark.parametrize(
    "call", ["io_uring_setup", "ptrace", "mount", "bpf", "setuid", "chroot", "init_module", "reboot"]
)
def test_what_nobody_needs_is_not(call: str, allowed: set[str]) -> None:
    assert call not in allowed


@pytest.fixture(scope="module")
def allowed() -> set[str]:
    return allowed_calls(Unit(UNITS / "arbd@.service"))


@pytest.mark.skipif(os.geteuid() != 0, reason="THE USER AND DIRECTORIES OF THE UNIT ARE NOT CHECKED: needs root")
def test_the_user_and_the_directories_are_made(root: Path) -> None:
    (root / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (root / "etc" / name).touch()
    invoke("install-units", "--root", str(root), "--arbd", "/opt/arbd/bin/arbd")
    environ = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    for command in (["systemd-sysusers", f"--root={root}"], ["systemd-tmpfiles", f"--root={root}", "--create"]):
        subprocess.run([*command, "arbd.conf"], env=environ, check=True, timeout=60)
    (line,) = (root / "etc/passwd").read_text().splitlines()
    name, _, uid, *_, shell = line.split(":")
    assert (name, Path(shell).name) == ("arbd", "nologin")
    shared = (root / "run/arbd/_shared").stat()
    assert (shared.st_uid, shared.st_mode & 0o777) == (int(uid), 0o700)
    assert (root / "etc/credstore").stat().st_mode & 0o777 == 0o700
