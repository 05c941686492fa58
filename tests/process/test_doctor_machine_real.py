"""``arbd doctor`` on a real machine: a daemon that runs, limits, control groups, files and units that are wrong."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import Arbd, Hub
from doctor_support import Examined, doctor

from arbd.cli import _unit_files

LOCAL = {"PROVIDER_NAME": "prov", "PROVIDER_AUTH_TOKEN": "t", "HUB_GRPC_URL": "unix:/nowhere/hub.sock"}
GROUPS = Path("/sys/fs/cgroup")


def with_unit(directory: Path, more: str, *, settings: str = "") -> Examined:
    """With the unit as it is shipped, and a drop-in."""
    config = directory / "prices.toml"
    config.write_text(f'name = "prices"\ntarget = "prices"\n{settings}\n[hub]\nurl = "unix:/nowhere/hub.sock"\n')
    unit = directory / "arbd@.service"
    text = _unit_files.stamped("arbd@.service", "/usr/bin/env").replace("/etc/arbd/%i.toml", f"{directory}/%i.toml")
    unit.write_text(text.replace("User=arbd", "User=daemon").replace("Group=arbd", "Group=daemon"))
    drop_in = directory / "arbd@.service.d/x.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(f"[Service]\n{more}\n")
    return doctor(directory, "--config", "prices.toml", "--unit", "./arbd@.service")


def test_a_daemon_that_runs_is_seen(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as daemon:
        daemon.wait_serving()
        found = doctor(tmp_path, env={**LOCAL, "HUB_GRPC_URL": hub.address})
        assert found.failures("daemon") == found.failures("hub") == set()
        assert str(daemon.process.pid) in found.finding("daemon")["what"]
        assert "runs" in found.finding("hub.token")["what"]


def test_the_address_of_metrics_is_asked_where_a_daemon_serves_and_tried_where_none_does(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env={"ARBD_METRICS_LISTEN": "0"}) as daemon:
        daemon.wait_serving()
        port = daemon.wait_event("started")[0]["metrics"].rpartition(":")[2]
        env = {**LOCAL, "HUB_GRPC_URL": hub.address, "ARBD_METRICS_LISTEN": port}
        assert doctor(tmp_path, env=env).finding("metrics")["what"] == f"http://127.0.0.1:{port}/livez answers"
        other = doctor(tmp_path, env={**env, "PROVIDER_NAME": "another"})
        assert other.levels("metrics") == {"metrics.port": "fail"}
    assert doctor(tmp_path, env=env).finding("metrics")["what"] == f"127.0.0.1:{port} is free"


def test_the_text_names_what_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "arbd.toml").write_text("wrokers = 3\n")
    found = doctor(tmp_path, env=LOCAL, as_json=False)
    assert found.code == 1
    lines = found.text.splitlines()
    assert any(line.startswith("fail  settings") and "did you mean workers" in line for line in lines)
    assert any(line.strip().startswith("why") for line in lines)
    assert any(line.strip().startswith("do") for line in lines)
    assert "\x1b" not in found.text


def test_what_a_file_says_does_not_reach_the_terminal_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "arbd.toml").write_text('"a\\u001b[31mb" = 1\n')
    assert "\x1b" not in doctor(tmp_path, env=LOCAL, as_json=False).text


def test_the_target_s_constructor_counts_where_it_is_named_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import pathlib\npathlib.Path('loaded').touch()\n"
        "from arbd import Provider\nprovider = Provider(name='by-hand', hub_url='unix:/nowhere/x.sock')\n"
    )
    (tmp_path / "arbd.toml").write_text('target = "mine.py"\n')
    assert doctor(tmp_path).document["provider"] == ""
    assert not (tmp_path / "loaded").exists()
    found = doctor(tmp_path, "mine.py")
    assert found.document["provider"] == "by-hand"
    assert "/nowhere/x.sock" in found.finding("hub.connect")["what"]
    (tmp_path / "mine.py").write_text("raise OSError('broken')\n")
    assert doctor(tmp_path, "mine.py").levels("settings") == {"settings.target": "fail"}


def test_files_that_others_may_read_or_that_are_not_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-of-the-hub\n")
    token.chmod(0o644)
    (tmp_path / "arbd.toml").write_text(
        'target = "gone.py"\n[hub]\nauth_token_file = "token"\nurl = "unix:/nowhere/x"\n'
    )
    found = doctor(tmp_path)
    assert found.levels("secrets") == {"secrets.mode": "warn"}
    assert found.levels("settings") == {"settings.target": "fail"}
    token.chmod(0o600)
    assert doctor(tmp_path).levels("secrets") == {}
    token.unlink()
    assert doctor(tmp_path).levels("secrets") == {"secrets.file": "fail"}
    (tmp_path / "arbd.toml").write_text('[hub]\nauth_token = "secret-of-the-hub"\nurl = "unix:/nowhere/x"\n')
    found = doctor(tmp_path)
    assert found.levels("secrets") == {"secrets.readable_settings": "warn"}
    assert "secret-of-the-hub" not in found.text


def test_a_runtime_directory_that_others_may_write_to(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    place.chmod(0o777)
    environ = LOCAL | {"ARBD_RUNTIME_DIR": str(place)}
    assert doctor(tmp_path, env=environ).levels("directories") == {"directories.mode": "fail"}
    place.chmod(0o700)
    assert doctor(tmp_path, env=environ).levels("directories") == {}
    assert list(place.iterdir()) == []
    missing = environ | {"ARBD_RUNTIME_DIR": str(place / "a/b")}
    assert doctor(tmp_path, env=missing).levels("directories") == {"directories.missing": "fail"}
    assert not (place / "a").exists()


# -- limits of the process ------------------------------------------------------------------------------------------


def test_a_limit_of_descriptors_is_told(tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70));from arbd.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--workers", "64"], cwd=tmp_path, env=os.environ | LOCAL,
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert "LimitNOFILE=" in done.stdout
    assert done.returncode == 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 70


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A control group of its own, of the controller that the test names; of version 1 or 2."""
    controller: str = request.param
    parent = GROUPS / controller if (GROUPS / controller).is_dir() else GROUPS
    place = parent / f"arbd-test-doctor-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be had here: {error}")
    yield place
    place.rmdir()


def in_group(group: Path, directory: Path, *arguments: str) -> Examined:
    """Run it in a control group."""
    code = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); from arbd.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json", *arguments], cwd=directory, env=os.environ | LOCAL,
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    return Examined(done.returncode, done.stdout)


@pytest.mark.parametrize("group", ["cpu"], indirect=True)
def test_a_quota_of_a_control_group_is_told(group: Path, tmp_path: Path) -> None:
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text("50000 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"no quota can be set here: {error}")
    found = in_group(group, tmp_path)
    assert "0.5 CPUs" in found.finding("cpus.quota")["what"]


@pytest.mark.parametrize("group", ["pids"], indirect=True)
def test_a_limit_of_tasks_of_a_control_group_is_told(group: Path, tmp_path: Path) -> None:
    try:
        (group / "pids.max").write_text("30")
    except OSError as error:
        pytest.skip(f"no limit can be set here: {error}")
    found = in_group(group, tmp_path)
    assert (found.code, found.levels("limits")) == (1, {"limits.tasks": "fail"})


# -- units ----------------------------------------------------------------------------------------------------------


def test_the_unit_as_it_is_shipped_fits(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = with_unit(tmp_path, "PrivateTmp=no")
    assert found.levels("unit") == found.levels("sandbox") == {}
    assert (found.document["user"], found.document["unit"]) == ("daemon", "arbd@prices.service")


def test_a_unit_that_contradicts_the_settings(tmp_path: Path) -> None:
    more = (
        "PrivateTmp=no\nTimeoutStopSec=20s\nWatchdogSec=0\nSystemCallFilter=~@resources\nLimitNOFILE=64\n"
        "AllowedCPUs=0\nMemoryMax=64M\nEnvironment=OMP_NUM_THREADS=64\nLoadCredential=tls_ca:/nowhere/ca.pem"
    )
    found = with_unit(tmp_path, more, settings="workers = 4\ndrain_timeout = 300")
    assert found.code == 1
    assert found.levels("unit") == {
        "unit.stop_timeout": "fail",
        "unit.watchdog": "warn",
        "unit.credential": "fail",
    }
    assert "TimeoutStopSec=322" in found.finding("unit.stop_timeout")["do"]
    assert found.levels("sandbox") == {"sandbox.pinning": "warn"}
    assert found.levels("limits") == {"limits.files": "fail"}
    assert found.levels("memory")["memory.limit"] == "fail"
    assert found.levels("cpus")["cpus.workers"] == "warn"
    assert found.levels("environment") == {"environment.threads": "warn"}


def test_systemctl_is_asked_where_it_answers(tmp_path: Path) -> None:
    """A systemctl of the test's, which shows a unit that stands in no directory."""
    text = _unit_files.shipped("arbd@.service").replace("TimeoutStopSec=60s", "TimeoutStopSec=3s")
    (tmp_path / "shown").write_text(f"# /etc/systemd/system/arbd@.service\n{text}")
    command = tmp_path / "bin/systemctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\n[ "$1" = cat ] && exec cat {tmp_path}/shown\nexit 1\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    found = doctor(tmp_path, env=LOCAL | {"PATH": f"{command.parent}:{os.environ['PATH']}"})
    assert found.levels("unit")["unit.stop_timeout"] == "fail"
    assert found.document["unit"] == "arbd@prov.service"


def test_a_systemctl_that_hangs_costs_seconds(tmp_path: Path) -> None:
    command = tmp_path / "bin/systemctl"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexec sleep 60\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    began = time.monotonic()
    found = doctor(tmp_path, env=LOCAL | {"PATH": f"{command.parent}:{os.environ['PATH']}"})
    assert time.monotonic() - began < 15
    assert found.levels("unit") == {}


def test_a_wrong_command_line_is_told_apart(tmp_path: Path) -> None:
    assert doctor(tmp_path, "--no-such-option").code == 2
