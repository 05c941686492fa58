"""The systemd for tests leaves nothing on the machine, whoever is killed, and reaches nothing of the machine's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from daemon_support import eventually
from rig_support import DENIED, Rig

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")

CGROUPS = Path("/sys/fs/cgroup")
#: Numbers of the kernel's, which never change (capability.h).
CAPABILITIES = {"-net_admin": 12, "-sys_module": 16, "-sys_rawio": 17, "-sys_time": 25, "-syslog": 34}
BOOT = """
import os, sys
sys.path[:0] = {path!r}
from rig_support import Rig
rig = Rig()
print(rig.pid, rig._keeper.pid, rig._directory, flush=True)
sys.stdin.read()
"""


def test_nothing_is_written_to_the_machine(rig: Rig) -> None:
    name = f"arbd-rig-{os.getpid()}"
    for directory in ("etc", "var/lib", "tmp", "run", "dev/shm", "usr/bin"):
        rig.run("touch", f"/{directory}/{name}")
        assert (rig.root / directory / name).exists()
        assert not Path("/", directory, name).exists()


def test_nobody_in_there_may_change_the_machine(rig: Rig) -> None:
    """It is looked up, never tried: a clock that is set would be everybody's. What enters the namespaces from outside
    is bound as PID 1 is, and so is all that these start."""
    entered = rig.run("cat", "/proc/self/status").stdout
    for status in (entered, (rig.root / "proc/1/status").read_text()):
        [bounds] = [line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")]
        [effective] = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
        assert CAPABILITIES.keys() == set(DENIED.split(","))
        for name, bit in CAPABILITIES.items():
            assert not (int(bounds, 16) | int(effective, 16)) >> bit & 1, name


def test_settings_of_the_kernel_and_devices_are_out_of_reach(rig: Rig) -> None:
    mounts = {
        line.split()[1]: line.split()[3].split(",") for line in (rig.root / "proc/1/mounts").read_text().splitlines()
    }
    assert "ro" in mounts["/proc/sys"]
    assert "ro" in mounts["/sys"]
    blocks = [path.name for path in (rig.root / "dev").iterdir() if path.is_block_device()]
    assert blocks == []


def test_only_what_the_tests_need_runs(rig: Rig) -> None:
    running = rig.systemctl("list-units", "--type=service", "--state=running", "--plain", "--no-legend", "--no-pager")
    names = {line.split()[0] for line in running.splitlines()}
    assert {name for name in names if not name.startswith(("arbd@", "hub.", "systemd-journald."))} == set()


@pytest.mark.parametrize("victim", ["tests", "keeper"])
def test_whoever_is_killed_nothing_is_left(victim: str) -> None:
    """Of the processes, and of the files where the keeper lives on; its cgroups the next one removes."""
    script = BOOT.format(path=sys.path)
    starter = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert starter.stdin is not None
    assert starter.stdout is not None
    systemd_pid, keeper_pid, directory = starter.stdout.readline().split()
    systemd, keeper = psutil.Process(int(systemd_pid)), psutil.Process(int(keeper_pid))
    inside = systemd.children(recursive=True)
    assert inside, "its journal runs"
    (starter if victim == "tests" else keeper).kill()
    starter.stdin.close()
    starter.wait(30)
    starter.stdout.close()
    eventually(lambda: not [process for process in (systemd, keeper, *inside) if process.is_running()])
    if victim == "tests":
        assert not Path(directory).exists()
    shutil.rmtree(directory, ignore_errors=True)  # nothing is mounted there any more
    assert not Path(directory).exists()
    Rig().close()
    assert [cgroup for cgroup in CGROUPS.rglob("arbd-rig-*") if cgroup.name == f"arbd-rig-{keeper_pid}"] == []
