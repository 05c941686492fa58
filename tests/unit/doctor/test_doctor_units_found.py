"""A unit is found where systemd would find it, with its drop-ins; what it gives the daemon is read from it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from arbd.doctor import examine
from arbd.doctor.case import Case, Question, open_case
from arbd.doctor.readers import daemons, files, machine, units
from arbd.doctor.unit_text import Unit
from arbd.host import process_facts

NOBODY: Mapping[str, str] = {"HOME": "/nowhere"}


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No ``systemctl`` answers, and the directories of the machine are those of the test."""
    monkeypatch.setattr(units, "_systemctl", lambda *_: None)
    monkeypatch.setattr(units, "_SYSTEM", (tmp_path / "etc", tmp_path / "usr"))
    monkeypatch.setattr(units, "_STORES", (str(tmp_path / "store"),))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(named: str, **also: str) -> Unit:
    unit = units.find(named, NOBODY, is_user=False, **also)
    assert unit is not None
    return unit


def case(directory: Path, **question: str) -> Case:
    named: dict[str, Any] = {"config_file": None, "unit": None, **question}
    return open_case(Question(**named, environ=NOBODY, directory=directory))


def test_none_is_found_where_there_is_none() -> None:
    assert units.find("arbd@prices", NOBODY, is_user=False) is None
    assert units.find("/nowhere/arbd@.service", NOBODY, is_user=False) is None


def test_the_template_stands_for_its_instances(tmp_path: Path) -> None:
    write(tmp_path / "usr/arbd@.service", "[Service]\nExecStart=/usr/bin/arbd run --config /etc/arbd/%i.toml\n")
    unit = found("arbd@prices")
    assert unit.name == "arbd@prices.service"
    assert unit.last("ExecStart") == "/usr/bin/arbd run --config /etc/arbd/prices.toml"


def test_the_nearer_directory_and_the_instance_itself_come_first(tmp_path: Path) -> None:
    write(tmp_path / "usr/arbd@prices.service", "[Service]\nUser=three\n")
    assert found("arbd@prices").last("User") == "three"
    write(tmp_path / "etc/arbd@.service", "[Service]\nUser=two\n")
    assert found("arbd@prices").last("User") == "three"
    write(tmp_path / "etc/arbd@prices.service", "[Service]\nUser=one\n")
    assert found("arbd@prices.service").last("User") == "one"


def test_drop_ins_of_template_and_instance_count_in_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "etc/arbd@.service", "[Service]\nUser=0\n")
    write(tmp_path / "etc/arbd@.service.d/20.conf", "[Service]\nUser=20\n")
    assert found("arbd@prices").last("User") == "20"
    write(tmp_path / "usr/arbd@prices.service.d/30.conf", "[Service]\nUser=30\n")
    assert found("arbd@prices").last("User") == "30"
    write(tmp_path / "etc/arbd@prices.service.d/30.conf", "[Service]\nUser=31\n")
    assert found("arbd@prices").last("User") == "31"
    assert len(found("arbd@prices").files) == 3


def test_a_path_is_read_with_the_drop_ins_beside_it(tmp_path: Path) -> None:
    file = write(tmp_path / "arbd@.service", "[Service]\nUser=%i\n")
    write(tmp_path / "arbd@.service.d/x.conf", "[Service]\nGroup=%n\n")
    unit = found(str(file), instance="prices")
    assert (unit.last("User"), unit.last("Group")) == ("prices", "arbd@prices.service")


def test_the_environment_of_a_unit(tmp_path: Path) -> None:
    file = write(tmp_path / "prices.env", "# secret\nOMP_NUM_THREADS=4\n")
    write(
        tmp_path / "etc/arbd@.service",
        f"[Service]\nEnvironment=A=1 \"B=two words\" 'C=3'\nEnvironmentFile=-{file}\nEnvironmentFile=-/nowhere\n"
        "RuntimeDirectory=arbd/%i other\nStateDirectory=arbd/%i:link\n",
    )
    assert units.environment_of(found("arbd@prices")) == {
        "A": "1",
        "B": "two words",
        "C": "3",
        "OMP_NUM_THREADS": "4",
        "RUNTIME_DIRECTORY": "/run/arbd/prices",
        "STATE_DIRECTORY": "/var/lib/arbd/prices",
    }


USER_UNIT = (
    "[Service]\nExecStart=/x/arbd run --config %E/arbd/%i.toml\nWorkingDirectory=%E/arbd\nRuntimeDirectory=arbd/%i\n"
    "StateDirectory=arbd/%i\nEnvironment=C=%C L=%L H=%h T=%T D=%d\n"
)
OWN = {
    "HOME": "/home/me",
    "XDG_CONFIG_HOME": "/home/me/cfg",
    "XDG_RUNTIME_DIR": "/run/user/7",
    "XDG_STATE_HOME": "/home/me/state",
    "XDG_CACHE_HOME": "/home/me/cache",
}


@pytest.mark.parametrize(
    ("version", "environ", "directories"),
    [
        ("systemd 254 (254.1-1)", OWN, ("/run/user/7", "/home/me/state", "/home/me/cache")),
        ("systemd 252 (252.38-1)\n+PAM", OWN, ("/run/user/7", "/home/me/cfg", "/home/me/cache")),
        (None, OWN, ("/run/user/7", "/home/me/state", "/home/me/cache")),
        ("systemd 257", {"HOME": "/h"}, (f"/run/user/{os.getuid()}", "/h/.local/state", "/h/.cache")),
        ("systemd 252", {"HOME": "/h"}, (f"/run/user/{os.getuid()}", "/h/.config", "/h/.cache")),
    ],
)
def test_a_unit_of_a_user_has_directories_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, environ: dict[str, str], directories: Any
) -> None:
    monkeypatch.setattr(units, "_systemctl", lambda words, _: version if list(words) == ["--version"] else None)
    file = write(tmp_path / "arbd@.service", USER_UNIT)
    unit = units.find(str(file), environ, is_user=True, instance="prices")
    assert unit is not None
    runtime, state, cache = directories
    assert units.environment_of(unit) == {
        "RUNTIME_DIRECTORY": f"{runtime}/arbd/prices",
        "STATE_DIRECTORY": f"{state}/arbd/prices",
        "C": cache,
        "L": f"{state}/log",
        "H": environ["HOME"],
        "T": "/tmp",
        "D": f"{runtime}/credentials/arbd@prices.service",
    }


def test_the_home_of_a_unit_of_the_machine_is_root_s_whoever_asks(tmp_path: Path) -> None:
    write(tmp_path / "etc/arbd@.service", "[Service]\nEnvironment=H=%h L=%L C=%C\n")
    assert units.environment_of(found("arbd@prices")) == {"H": "/root", "L": "/var/log", "C": "/var/cache"}


@pytest.mark.parametrize("place", ["cfg/systemd/user", "run/systemd/user", "data/systemd/user"])
def test_a_unit_of_a_user_is_found_where_its_manager_looks(tmp_path: Path, place: str) -> None:
    names = {"XDG_CONFIG_HOME": "cfg", "XDG_RUNTIME_DIR": "run", "XDG_DATA_HOME": "data"}
    environ = {"HOME": "/nowhere", **{name: str(tmp_path / where) for name, where in names.items()}}
    write(tmp_path / place / "arbd-of-test@.service", "[Service]\nType=notify\n")
    unit = units.find("arbd-of-test@prices", environ, is_user=True)
    assert unit is not None
    assert unit.last("Type") == "notify"


@pytest.mark.parametrize("is_named", [True, False])
def test_a_case_of_a_user_s_unit_has_its_directories(tmp_path: Path, is_named: bool) -> None:
    config = write(tmp_path / "cfg/arbd/prices.toml", 'name = "prices"\n')
    file = write(tmp_path / "cfg/systemd/user/arbd@.service", USER_UNIT)
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "cfg"), "XDG_RUNTIME_DIR": "/run/user/7"}
    question = Question(config_file=str(config), unit=str(file) if is_named else None, environ=environ)
    it = open_case(question)
    assert (it.is_of_unit, it.is_user_unit) == (True, True)
    assert it.environ["RUNTIME_DIRECTORY"] == "/run/user/7/arbd/prices"
    assert it.settings.state_dir == f"{tmp_path}/.local/state/arbd/prices"


# -- when it was started ---------------------------------------------------------------------------------------------


def test_the_start_of_a_unit_is_that_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Unit("arbd@prices.service", (), (), {}, is_loaded=True)
    monkeypatch.setattr(process_facts, "started_at", lambda pid: {41: 1000.0}.get(pid))
    for said, expected in (("41", 1000.0), ("42", None), ("0", None), ("", None), (None, None), ("[not set]", None)):
        monkeypatch.setattr(units, "_systemctl", lambda *_, said=said: said)
        assert units.started_at(loaded, is_user=False) == expected, said


class TestChanged:
    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        file = write(tmp_path / "before/token", "t")
        os.utime(file, (1000, 1000))
        return file

    def test_a_file_that_brings_an_older_time_has_changed(self, old: Path, tmp_path: Path) -> None:
        """As after ``install -p``, ``cp -p`` or ``mv`` of one that was written before the start."""
        began_at = time.time() - 1
        os.rename(old, tmp_path / "token")
        assert files._changed_at(tmp_path / "token") >= began_at

    def test_so_has_a_link_that_leads_elsewhere_now(self, old: Path, tmp_path: Path) -> None:
        """As secrets are swapped that are mounted into containers: the link is a directory on the way."""
        (tmp_path / "now").symlink_to(old.parent)
        link = (tmp_path / "now").lstat().st_ctime
        assert files._changed_at(tmp_path / "now/token") >= link

    def test_one_that_is_not_there_has_not(self, tmp_path: Path) -> None:
        assert files._changed_at(tmp_path / "nothing") == 0.0


def test_credentials_are_found_by_path_and_in_the_stores(tmp_path: Path) -> None:
    token = write(tmp_path / "store/arbd.prices.token", "t")
    ca = write(tmp_path / "ca.pem", "c")
    write(
        tmp_path / "etc/arbd@.service",
        f"[Service]\nLoadCredential=token:arbd.%i.token\nLoadCredential=tls_ca:{ca}\nLoadCredential=tls_key:/nowhere\n"
        "LoadCredential=gone:gone\n",
    )
    assert units.credential_sources(found("arbd@prices")) == {"token": str(token), "tls_ca": str(ca)}


# -- the case -------------------------------------------------------------------------------------------------------


def test_a_daemon_of_the_unit_has_its_user_environment_and_credentials(tmp_path: Path) -> None:
    config = write(tmp_path / "prices.toml", 'name = "prices"\n[hub]\ntls_ca = "$CREDENTIALS_DIRECTORY/hub_ca"\n')
    ca = write(tmp_path / "ca.pem", "c")
    token = write(tmp_path / "store/arbd.prices.token", "secret-of-the-hub\n")
    write(
        tmp_path / "etc/arbd@.service",
        f"[Service]\nExecStart=/usr/bin/arbd run --config {tmp_path}/%i.toml\nUser=daemon\nEnvironment=X=1\n"
        f"LoadCredential=token:arbd.%i.token\nLoadCredential=hub_ca:{ca}\n",
    )
    it = case(tmp_path, config_file="prices.toml")
    assert it.is_of_unit
    assert it.config_file == str(config)
    assert (it.account.name, it.environ, it.problems) == ("daemon", {"X": "1"}, ())
    assert (it.settings.hub_auth_token, it.settings.hub_tls_ca) == ("secret-of-the-hub", str(ca))
    assert it.copied == {"hub.auth_token_file": str(token), "hub.tls_ca": str(ca)}


def test_settings_of_no_unit_are_those_of_whoever_asks(tmp_path: Path) -> None:
    write(tmp_path / "arbd.toml", 'name = "prices"\n')
    write(
        tmp_path / "etc/arbd@.service",
        "[Service]\nExecStart=/usr/bin/arbd run --config /etc/arbd/%i.toml\nUser=daemon\n",
    )
    it = case(tmp_path)
    assert not it.is_of_unit
    assert it.unit is not None
    assert it.unit.name == "arbd@prices.service"
    assert it.environ == NOBODY


def test_a_unit_alone_names_its_settings(tmp_path: Path) -> None:
    config = write(tmp_path / "x.toml", 'name = "x"\n')
    file = write(tmp_path / "my.service", f"[Service]\nExecStart=/usr/bin/arbd run --config={config}\n")
    it = case(tmp_path / "elsewhere", unit=str(file))
    assert (it.config_file, it.settings.name, it.is_of_unit) == (str(config), "x", True)


def test_wrong_settings_are_problems_and_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "arbd.toml", 'wrokers = 3\nworkers = -1\nname = "prices"\n[hub]\nurl = "unix:/nowhere/x"\n')
    it = case(tmp_path)
    assert len(it.problems) == 2
    assert (it.settings.workers, it.settings.name, it.settings.hub_url) == ("auto", "prices", "unix:/nowhere/x")
    assert it.has_hub


def test_settings_that_contradict_each_other_leave_the_defaults(tmp_path: Path) -> None:
    write(tmp_path / "arbd.toml", 'name = "prices"\n[hub]\ntls = "off"\ntls_ca = "x"\n')
    it = case(tmp_path)
    assert (len(it.problems), it.settings.name, it.has_hub) == (1, "", False)


def test_a_token_that_cannot_be_read_is_a_problem_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "arbd.toml", '[hub]\nauth_token_file = "gone"\nurl = "hub.example:443"\n')
    it = case(tmp_path)
    assert it.problems == ()
    assert len(it.token_problems) == 1
    assert it.settings.hub_url == "hub.example:443"


def test_the_cpus_of_the_daemon_that_runs_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.host.cpu_claim.seen", lambda: {0: 1, 1: 2})
    facts = machine.cpu_facts(case(tmp_path), {0, 1})
    assert facts.claimed == {0: 0, 1: 1}


def test_a_unit_s_lines_are_the_daemon_s_cpus_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    config = write(tmp_path / "x.toml", 'name = "x"\n')
    lines = "AllowedCPUs=1-9\nCPUAffinity=0 1 2\nCPUQuota=150%\nLimitNOFILE=128:256\nTasksMax=77\nMemoryMax=1G\n"
    write(tmp_path / "etc/arbd@.service", f"[Service]\nExecStart=/bin/arbd run --config {config}\nUser=daemon\n{lines}")
    it = case(tmp_path, config_file="x.toml")
    facts = machine.cpu_facts(it, ())
    assert (facts.allowed, facts.quota) == (frozenset({1, 2}), 1.5)
    limits = machine.limit_facts(it, 2, 2)
    assert (limits.files, limits.tasks_max, limits.is_root) == (256, 77, False)
    assert machine.memory_facts(it, 2, is_there=False).limit == 1 << 30


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    write(tmp_path / "arbd.toml", '[hub]\nauth_token_file = "token"\n')
    it = case(tmp_path)
    assert (it.pipes, it.problems, it.token_problems) == ({"hub.auth_token_file": "token"}, (), ())
    assert it.settings.hub_auth_token_file is None


def test_what_cannot_be_looked_at_is_told_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "no descriptor is left")

    write(tmp_path / "arbd.toml", '[hub]\nurl = "unix:/nowhere/hub.sock"\n')
    for reader in ("limit_facts", "clock_facts"):
        monkeypatch.setattr(machine, reader, broken)
    monkeypatch.setattr(daemons, "running_facts", broken)
    found = examine.examine(case(tmp_path), examine.NamedTarget(), lambda _: False)
    told = {each.check: each.what for each in found if "no descriptor is left" in each.what}
    assert set(told) == {"limits", "clock"}
    assert {each.topic for each in found} >= {"settings", "hub", "cpus", "memory", "kernel"}
