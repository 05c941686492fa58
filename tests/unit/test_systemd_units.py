"""The unit agrees with what arbd is: its exit codes, its times, its credentials; and is as closed as it can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import ROOT, rows, section
from unit_text import UNITS, Unit

from arbd.cli import _unit_files
from arbd.settings.credentials import SETTING_OF
from arbd.settings.table import resolve
from arbd.supervisor import main as daemon
from arbd.supervisor.lives import STOP_MARGIN_S

UNIT = Unit(UNITS / "arbd@.service")
USER = Unit(UNITS / "user/arbd@.service")
BOTH = pytest.mark.parametrize("unit", [UNIT, USER], ids=["system", "user"])


@BOTH
def test_what_cannot_be_helped_by_a_start_is_not_started_again(unit: Unit) -> None:
    """As the table of exit codes says."""
    told = rows(section("docs/operate.md", "Exit codes"))
    hopeless = {code for code, _, again in told if again.startswith("no")}
    assert set(unit.one("RestartPreventExitStatus").split()) == hopeless
    assert {"2", "78"} <= hopeless
    assert unit.one("Restart") == "on-failure"


@BOTH
def test_a_daemon_that_fails_for_minutes_is_given_up_and_not_before(unit: Unit) -> None:
    burst, interval = float(unit.one("StartLimitBurst")), unit.seconds("StartLimitIntervalSec")
    assert burst * unit.seconds("RestartSec") >= 60
    assert interval > burst * (unit.seconds("RestartSec") + 2), "it would never be given up"
    assert all(each in ("Unit",) for each, name, _ in unit.lines if name.startswith("StartLimit"))


@BOTH
def test_a_stop_has_time_for_a_drain(unit: Unit) -> None:
    settings = resolve([]).settings
    longest = settings.drain_timeout + settings.worker_stop_timeout + STOP_MARGIN_S + daemon._CLOSE_TIMEOUT_S
    assert unit.seconds("TimeoutStopSec") > longest


@BOTH
def test_the_supervisor_is_told_and_heard_and_nobody_else(unit: Unit) -> None:
    assert (unit.one("Type"), unit.one("NotifyAccess"), unit.one("KillMode")) == ("notify", "main", "mixed")
    assert unit.one("ExecReload").endswith("kill -HUP $MAINPID")
    assert unit.seconds("WatchdogSec") >= 10
    assert unit.one("OOMPolicy") == "continue"


def test_the_daemon_is_a_bit_safer_from_the_oom_killer_than_its_workers() -> None:
    from arbd.host.oom import WORKER_STEP

    score = int(UNIT.one("OOMScoreAdjust"))
    assert score < 0 < score + WORKER_STEP
    assert USER.all("OOMScoreAdjust") == [], "a user's manager may not lower it"


def test_every_credential_that_arbd_knows_is_passed_if_it_is_there() -> None:
    passed = dict(value.split(":") for value in UNIT.all("LoadCredential"))
    assert passed == {name: f"arbd.%i.{name}" for name in SETTING_OF}
    assert not any("/" in place for place in passed.values()), "a path that is not there would be a failure"


@BOTH
def test_each_instance_has_its_own_settings_and_directories(unit: Unit) -> None:
    assert re.search(r" --config \S+/arbd/%i\.toml$", unit.one("ExecStart"))
    assert unit.one("ExecStart").startswith(f"{_unit_files.COMMAND} ")
    assert {unit.one("RuntimeDirectory"), unit.one("StateDirectory")} == {"arbd/%i"}
    assert unit.one("UMask") == "0077"


def test_what_must_stay_open_is_open() -> None:
    """Compilers in numba and torch; pinning; psutil and numerical libraries; CPUs and limits of other daemons."""
    names = {name for _, name, _ in UNIT.lines}
    assert not names & {"MemoryDenyWriteExecute", "ProcSubset", "PrivateNetwork", "InaccessiblePaths", "NoExecPaths"}
    denied = [word for value in UNIT.all("SystemCallFilter") if value.startswith("~") for word in value[1:].split()]
    assert denied == ["@privileged", "io_uring_setup", "io_uring_enter", "io_uring_register"]
    assert UNIT.all("SystemCallFilter")[0] == "@system-service"
    assert UNIT.one("SystemCallErrorNumber") == "EPERM", "else a library that tries would be killed"


def test_nothing_is_set_twice_by_mistake() -> None:
    several = {"LoadCredential", "SystemCallFilter"}
    for unit in (UNIT, USER):
        names = [name for _, name, _ in unit.lines if name not in several]
        assert sorted(names) == sorted(set(names))


def test_the_drop_in_for_reloads_takes_the_command_away() -> None:
    drop_in = Unit(UNITS / "notify-reload.conf")
    assert (drop_in.one("Type"), drop_in.one("ExecReload")) == ("notify-reload", "")


def test_the_directories_that_the_unit_and_the_page_name_are_made() -> None:
    made = {
        words[1]: words[2]
        for line in (UNITS / "arbd.tmpfiles").read_text().splitlines()
        if (words := line.split()) and words[0] == "d"
    }
    assert made == {"/etc/arbd": "0755", "/etc/credstore": "0700", "/run/arbd": "0755", "/run/arbd/_shared": "0700"}
    assert UNIT.one("ReadWritePaths") == "-/run/arbd/_shared"


def test_the_user_is_the_unit_s() -> None:
    (line,) = [line for line in (UNITS / "arbd.sysusers").read_text().splitlines() if not line.startswith("#")]
    assert line.split()[:2] == ["u", UNIT.one("User")]
    assert UNIT.one("Group") == UNIT.one("User")


@pytest.mark.parametrize(
    "file", sorted(path for path in UNITS.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_what_is_shipped_is_what_is_installed(file: Path) -> None:
    """Found where a wheel has it; lines as long as in the rest of the project. What is for Grafana and Prometheus is
    theirs to load, and nothing of a machine's."""
    name = str(file.relative_to(UNITS))
    known = {each.source for each in (*_unit_files.SYSTEM, _unit_files.NOTIFY_RELOAD, _unit_files.USER)}
    assert (name in known) != (file.parent.name == "observability")
    assert _unit_files.shipped(name) == file.read_text()
    if file.suffix != ".json":  # a query is one string
        assert [line for line in file.read_text().splitlines() if len(line) > 120] == []
    assert (ROOT / "arbd/systemd").resolve() == UNITS
