"""What the unit gives a daemon under a real systemd, and keeps from it: its user, its directories, its credentials, its
CPUs, its place before the OOM killer, and the whole sandbox, within which everything still works.

Limits of memory and sets of CPUs need cgroup controllers, which are not there on many machines: not tested here.
"""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Hub, eventually
from rig_support import ARBD, Instance, Rig

from arbd.cli._unit_files import NOTIFY_RELOAD_SINCE
from arbd.doctor.unit_text import parse

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")

TOKEN = "a-token-nobody-may-see"
PROVIDER = """
import os, subprocess, sys, threading, time
from pathlib import Path
from arbd import Provider
provider = Provider(name="sandboxed", execution_timeout=20)


def refused(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError:
        return True
    return False


@provider.actions.register(name="look")
def look():
    import numpy, socket
    time.sleep(0.2)  # so that both workers have some
    matrix = numpy.ones((300, 300))
    thread = threading.Thread(target=lambda: None)
    thread.start(); thread.join()
    Path(os.environ["STATE_DIRECTORY"], "kept").write_text("state")
    Path(os.environ["XDG_CACHE_HOME"], "kept").write_text("cache")
    Path("/tmp/kept").write_text("temporary")
    Path("/dev/shm/kept").write_text("shared")
    return {
        "sum": float((matrix @ matrix).sum()),
        "cpus": sorted(os.sched_getaffinity(0)),
        "said": subprocess.check_output([sys.executable, "-c", "print(6 * 7)"]).decode(),
        "address": socket.getaddrinfo("localhost", 80)[0][4][0],
        "home": os.environ["HOME"],
        "environment": dict(os.environ),
        "users": sorted(os.stat(f"/proc/{pid}").st_uid == os.getuid() for pid in os.listdir("/proc") if pid.isdigit()),
        "privileges": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapBnd"))],
        "new_privileges": "NoNewPrivs:\\t1" in open("/proc/self/status").read(),
        "refused": {
            "write settings": refused(Path("/etc/arbd/mine").write_text, ""),
            "write programs": refused(Path("/usr/bin/mine").write_text, ""),
            "write kernel": refused(Path("/proc/sys/kernel/hostname").write_text, ""),
            "read home": refused(os.listdir, "/root"),
            "read tokens": refused(os.listdir, "/etc/credstore"),
            "packet socket": refused(socket.socket, 17, socket.SOCK_RAW, 0),
            "device": refused(os.mknod, "/tmp/device", 0o20666, os.makedev(1, 8)),
        },
    }


@provider.actions.register(name="hang", timeout=0.3)
def hang():
    subprocess.Popen(["sleep", "600"])
    while True:
        pass
"""


def test_everything_works_in_the_sandbox_and_what_is_outside_is_kept_from_it(rig: Rig) -> None:
    rig.write("/srv/sandboxed.py", PROVIDER)
    with Hub() as hub, Instance(rig, hub.address, target="/srv/sandboxed.py") as arbd:
        arbd.start()
        tasks, [hung] = hub.submit("look", count=6), hub.submit("hang")
        results = hub.results()
        seen: list[dict[str, Any]] = [results[task].response["data"] for task in tasks]
        for each in seen:
            assert (each["sum"], each["said"]) == (300.0**3, "42\n")
            assert {name for name, is_refused in each["refused"].items() if not is_refused} == set()
            assert each["privileges"] == ["0" * 16] * 2
            assert each["new_privileges"]
            assert set(each["users"]) == {True}, "only its own user's processes"
            assert each["home"] == f"/var/lib/arbd/{arbd.name}"
        usable = os.sched_getaffinity(0)
        assert all(len(each["cpus"]) == 1 for each in seen)
        assert len({each["cpus"][0] for each in seen}) == min(2, len(usable))
        assert results[hung].response["status"] == "error"
        eventually(lambda: not arbd.named("sleep"))
        assert (arbd.state_directory / "kept").read_text() == "state"
        assert (rig.root / "var/cache/arbd" / arbd.name / "kept").read_text() == "cache"
        assert not (rig.root / "tmp/kept").exists()
        serious = [line["event"] for line in arbd.events() if line["level"] in ("warning", "error", "critical")]
        assert serious == ["task_stack"]  # of the one that was hung


def test_the_credential_reaches_the_hub_and_nobody_else(rig: Rig) -> None:
    with Hub(tokens=[TOKEN]) as hub, Instance(rig, hub.address, token=TOKEN) as arbd:
        arbd.start()
        hub.submit("echo", {}, count=4)
        assert {result.status for result in hub.results().values()} == {"success"}
        for process in arbd.processes():
            environment = process.environ()
            assert TOKEN not in json.dumps([environment, process.cmdline()])
            if process.pid != arbd.supervisor.pid:
                assert not {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"} & environment.keys()
        assert TOKEN not in "\n".join(rig.journal(arbd.unit))
        for directory in ("run/arbd", "var/lib/arbd"):
            files = [path for path in (rig.root / directory).rglob("*") if path.is_file()]
            assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_the_kernel_takes_a_worker_first(rig: Rig) -> None:
    """No memory runs out here: it is what the kernel and systemd go by. Where nobody may lower a score (a container
    without CAP_SYS_RESOURCE) the daemon keeps 0."""
    may_lower = rig.run("sh", "-c", "echo -100 >/proc/self/oom_score_adj", check=False).returncode == 0
    daemon = -100 if may_lower else 0
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        scores = {process.name(): _oom_score_adj(process.pid) for process in arbd.processes()}
        workers = {score for name, score in scores.items() if name.startswith("arbd:worker")}
        assert (scores["arbd"], scores["arbd:zygote"], workers) == (daemon, daemon, {daemon + 300})
        assert [arbd.show(name) for name in ("OOMPolicy", "OOMScoreAdjust")] == ["continue", "-100"]


def test_it_runs_as_its_user_with_its_directories(rig: Rig) -> None:
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        users = (rig.root / "etc/passwd").read_text().splitlines()
        [uid] = [int(line.split(":")[2]) for line in users if line.startswith("arbd:")]
        assert {process.uids().real for process in arbd.processes()} == {uid}
        for directory, mode in (("run/arbd", 0o755), ("var/lib/arbd", 0o700), ("var/cache/arbd", 0o700)):
            found = (rig.root / directory / arbd.name).stat()
            assert (found.st_uid, found.st_mode & 0o777) == (uid, mode), directory
        socket = (rig.root / arbd.control_socket.lstrip("/")).stat()
        assert (socket.st_uid, socket.st_mode & 0o777) == (uid, 0o600)
        assert "serving" in rig.run(ARBD, "status").stdout
        arbd.stop()
        assert not (rig.root / "run/arbd" / arbd.name).exists()
        assert arbd.state_directory.exists()


def test_a_dynamic_user_will_do(rig: Rig) -> None:
    unit = ("DynamicUser=yes", "User=arbd-dynamic", "Group=arbd-dynamic")
    with Hub(tokens=[TOKEN]) as hub, Instance(rig, hub.address, unit=unit, token=TOKEN) as arbd:
        arbd.start()
        hub.submit("echo", {}, count=4)
        assert {result.status for result in hub.results().values()} == {"success"}
        [uid] = {process.uids().real for process in arbd.processes()}
        assert 61184 <= uid <= 65519
        with pytest.raises(KeyError):
            pwd.getpwuid(uid)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="AFFINITY OF THE UNIT IS NOT TESTED: one CPU")
def test_cpus_that_the_unit_gives_are_counted_and_no_others_used(rig: Rig) -> None:
    cpu = max(os.sched_getaffinity(0))
    with Hub() as hub, Instance(rig, hub.address, workers='"auto"', unit=(f"CPUAffinity={cpu}",)) as arbd:
        arbd.start()
        assert [process.cpu_affinity() for process in arbd.workers] == [[cpu]]
        assert {tuple(process.cpu_affinity() or ()) for process in arbd.processes()} == {(cpu,)}


def test_the_installed_unit_verifies(rig: Rig) -> None:
    said = rig.run("systemd-analyze", "verify", "arbd@prices.service")
    assert (said.stdout, said.stderr) == ("", "")


def test_every_line_of_the_unit_is_one_that_systemd_knows(rig: Rig) -> None:
    """As the manager has them: a name that it does not know would be a line in its log, and no protection."""
    with Instance(rig, "127.0.0.1:1") as arbd:
        shown = rig.show(arbd.unit)
    shipped = (rig.root / "etc/systemd/system/arbd@.service").read_text()
    assert unknown_names(shipped, shown) == []
    assert unknown_names(f"{shipped}\n[Service]\nRestrictXyz=yes\n", shown) == ["RestrictXyz"]
    expected = {"KillMode": "mixed", "NotifyAccess": "main", "Restart": "on-failure"}
    expected |= {"RestartPreventExitStatus": "2 70 78", "TimeoutStopUSec": "1min", "OOMScoreAdjust": "-100"}
    expected |= {"NoNewPrivileges": "yes", "PrivateUsers": "yes", "ProtectProc": "invisible"}
    expected |= {"MemoryDenyWriteExecute": "no"}
    assert {name: shown[name] for name in expected} == expected


def test_systemd_waits_for_a_reload_where_it_can(rig: Rig) -> None:
    version = int(rig.systemctl("--version").split()[1])
    if version < NOTIFY_RELOAD_SINCE:
        pytest.skip(f"TYPE=NOTIFY-RELOAD IS NOT TESTED: this is systemd {version}, {NOTIFY_RELOAD_SINCE} brings it")
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        assert arbd.show("Type") == "notify-reload"
        rig.systemctl("reload", arbd.unit)
        assert arbd.events("reloaded"), "it returns when the reload is over"


def unknown_names(unit: str, shown: dict[str, str]) -> list[str]:
    """Names of lines of the unit that are none of its properties; times have ``USec`` there, and lists of files an
    ``s``."""
    names = {line.name for line in parse(unit) if line.section == "Service"}
    known = shown.keys() | {name.replace("USec", "Sec") for name in shown} | {name.rstrip("s") for name in shown}
    return sorted(names - known)


def _oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
