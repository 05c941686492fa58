"""A unit's text is read as systemd reads it, and what contradicts the settings is told."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from arbd.cli import _unit_files
from arbd.doctor.checks.sandbox import SandboxFacts, check_sandbox
from arbd.doctor.checks.syscalls import forbidden
from arbd.doctor.checks.unit import UnitFacts, check_unit
from arbd.doctor.unit_text import Unit, amount_of, cpus_of, parse, percent_of, seconds_of
from arbd.settings.table import Settings, resolve

SHIPPED = _unit_files.shipped("arbd@.service")
DEFAULTS = resolve([]).settings


def unit(more: str = "", text: str = SHIPPED) -> Unit:
    """The unit as it is shipped, with a drop-in."""
    lines = (*parse(text), *parse(f"[Service]\n{more}"))
    return Unit("arbd@prices.service", ("/etc/systemd/system/arbd@.service",), lines, {"i": "prices", "%": "%"})


def of_unit(more: str = "", settings: Settings = DEFAULTS, **changed: Any) -> dict[str, str]:
    facts = UnitFacts(unit=unit(more), sought="arbd@prices", settings=settings, **changed)
    return {finding.check: finding.level for finding in check_unit(facts)}


def of_sandbox(more: str = "", **changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"unit": unit(more), "pin": True, "hub_is_tcp": True, **changed}
    return {finding.check: finding.level for finding in check_sandbox(SandboxFacts(**facts))}


# -- the text -------------------------------------------------------------------------------------------------------


def test_lines_go_on_and_comments_do_not_count() -> None:
    lines = parse("[Service]\n# A=1\n; B=2\nC = one \\\n# between\n  two\nnonsense\n\n[Install]\nD=\n")
    assert [(line.section, line.name, line.value) for line in lines] == [
        ("Service", "C", "one  two"),
        ("Install", "D", ""),
    ]


def test_an_empty_value_makes_a_list_begin_anew() -> None:
    found = unit("LoadCredential=\nLoadCredential=a:%i\nUser=\n")
    assert found.all("LoadCredential") == ["a:prices"]
    assert found.last("User", "root") == "root"
    assert found.last("ExecStart").endswith("--config /etc/arbd/prices.toml")


def test_a_specifier_that_nobody_knows_stays() -> None:
    assert unit("X=%q %% %i").last("X") == "%q % prices"


@pytest.mark.parametrize(("text", "seconds"), [
    ("30", 30.0), ("5min 20s", 320.0), ("1h30min", 5400.0), ("500ms", 0.5), ("2.5s", 2.5), ("infinity", math.inf),
    ("1 d", 86_400.0), ("", None), ("soon", None), ("5 parsecs", None), ("0", 0.0),
])  # fmt: skip
def test_lengths_of_time(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(("text", "amount"), [
    ("64", 64.0), ("8G", 8 * 2**30), ("1.5K", 1536.0), ("infinity", math.inf), ("50%", None), ("", None), ("x", None),
])  # fmt: skip
def test_amounts(text: str, amount: float | None) -> None:
    assert amount_of(text) == amount


def test_shares_and_sets_of_cpus() -> None:
    assert (percent_of("150%"), percent_of("20 %"), percent_of("2")) == (1.5, None, None)
    assert list(cpus_of("0-2,5 8")) == [0, 1, 2, 5, 8]
    assert list(cpus_of("all,3-,-2,99999999-999999999,1")) == [1]
    assert unit("LimitNOFILE=512:4096").size("LimitNOFILE") == 4096
    assert unit("AllowedCPUs=1\nAllowedCPUs=2-3").cpus("AllowedCPUs") == {1, 2, 3}


# -- against the settings -------------------------------------------------------------------------------------------


def test_what_is_shipped_fits_the_defaults() -> None:
    assert of_unit() == {"unit": "ok"}
    assert of_sandbox() == {"sandbox": "ok"}
    user = unit(text=_unit_files.shipped("user/arbd@.service"))
    facts = UnitFacts(unit=user, sought="", settings=DEFAULTS, is_user_unit=True)
    assert {finding.level for finding in check_unit(facts)} == {"ok"}


def test_no_unit_is_no_problem() -> None:
    (finding,) = check_unit(UnitFacts(unit=None, sought="arbd@prices", settings=DEFAULTS))
    assert finding.level == "ok"
    (named,) = check_unit(UnitFacts(unit=None, sought="arbd@prcies", settings=DEFAULTS, was_named=True))
    assert named.level == "fail"
    assert [*check_sandbox(SandboxFacts(unit=None, pin=True, hub_is_tcp=True))] == []


@pytest.mark.parametrize(("more", "found"), [
    ("TimeoutStopSec=20s", {"unit.stop_timeout": "fail"}),
    ("TimeoutStopSec=36.5s", {"unit.stop_timeout": "fail"}),
    ("TimeoutStopSec=40s", {"unit.stop_timeout": "warn"}),
    ("TimeoutStopSec=infinity", {"unit": "ok"}),
    ("WatchdogSec=", {"unit.watchdog": "warn"}),
    ("WatchdogSec=0", {"unit.watchdog": "warn"}),
    ("WatchdogSec=2", {"unit.watchdog": "warn"}),
    ("Restart=no", {"unit.restart": "warn"}),
    ("RestartPreventExitStatus=\nRestartPreventExitStatus=2", {"unit.restart_loop": "warn"}),
    ("OOMPolicy=stop", {"unit.oom_policy": "warn"}),
    ("OOMPolicy=", {"unit.oom_policy": "warn"}),
    ("KillMode=process", {"unit.kill_mode": "fail"}),
    ("KillMode=control-group", {"unit": "ok"}),
    ("KillSignal=SIGKILL", {"unit.kill_signal": "fail"}),
    ("Type=simple", {"unit.type": "warn"}),
    ("Type=notify-reload", {"unit": "ok"}),
    ("NotifyAccess=none", {"unit.notify_access": "fail"}),
    ("User=root", {"unit.user": "warn"}),
    ("User=\nDynamicUser=yes", {"unit": "ok"}),
    ("RuntimeDirectory=", {"unit.runtime_directory": "warn"}),
    ("LoadCredential=tls_ca:/etc/ca.pem", {"unit.credential": "fail"}),
])  # fmt: skip
def test_a_line_that_does_not_fit_is_told(more: str, found: dict[str, str]) -> None:
    assert of_unit(more) == found


@pytest.mark.parametrize(("drain_s", "stop_s", "level"), [(30.0, 5.0, "ok"), (55.0, 5.0, "fail"), (30.0, 40.0, "fail"),
                                                          (41.0, 5.0, "warn"), (0.0, 0.0, "ok")])  # fmt: skip
def test_longer_settings_need_a_longer_stop(drain_s: float, stop_s: float, level: str) -> None:
    settings = msgspec.structs.replace(DEFAULTS, drain_timeout=drain_s, worker_stop_timeout=stop_s)
    found = of_unit(settings=settings)
    assert found == ({"unit": "ok"} if level == "ok" else {"unit.stop_timeout": level})


def test_without_a_line_systemd_s_default_counts() -> None:
    long = msgspec.structs.replace(DEFAULTS, drain_timeout=100.0)
    assert of_unit("TimeoutStopSec=") == {"unit": "ok"}
    assert of_unit("TimeoutStopSec=", long) == {"unit.stop_timeout": "fail"}
    assert of_unit("TimeoutStopSec=\nTimeoutSec=10min", long) == {"unit": "ok"}


@pytest.mark.parametrize(("changed", "found"), [
    ({"config_file": "/etc/a.toml", "named_config": "/etc/a.toml"}, {"unit": "ok"}),
    ({"config_file": "/etc/b.toml", "named_config": "/etc/a.toml"}, {"unit.settings": "warn"}),
    ({"command_error": "/opt/arbd: No such file or directory"}, {"unit.command": "fail"}),
    ({"outdated": True}, {"unit.outdated": "warn"}),
    ({"needs_reload": True}, {"unit.daemon_reload": "warn"}),
    ({"user_is_missing": True}, {"unit.user": "fail"}),
])  # fmt: skip
def test_what_surrounds_the_unit_is_told(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert of_unit(**changed) == found


def test_a_credential_that_is_there_is_well_and_one_that_nobody_passes_is_not() -> None:
    sources = {"tls_ca": "/etc/ca.pem"}
    assert of_unit("LoadCredential=tls_ca:/etc/ca.pem", sources=sources) == {"unit": "ok"}
    settings = msgspec.structs.replace(DEFAULTS, hub_tls_ca="$CREDENTIALS_DIRECTORY/hub_ca")
    assert of_unit(settings=settings) == {"unit.credential": "fail"}
    assert of_unit("LoadCredential=hub_ca:hub_ca", settings) == {"unit": "ok"}


# -- the sandbox ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("filters", "found"), [
    ([], []),
    (["@system-service"], []),
    (["@system-service", "~@resources"], ["sched_setaffinity"]),
    (["~@resources"], ["sched_setaffinity"]),
    (["~sched_setaffinity:EPERM"], ["sched_setaffinity"]),
    (["@system-service", "~@resources", "sched_setaffinity"], []),
    (["@system-service", "~memfd_create pidfd_open"], ["memfd_create", "pidfd_open"]),
    (["~@clock"], []),
    (["@known"], []),
])  # fmt: skip
def test_which_calls_a_filter_forbids(filters: list[str], found: list[str]) -> None:
    assert forbidden(filters) == found


def test_a_list_of_what_is_allowed_forbids_the_rest() -> None:
    assert "eventfd2" in forbidden(["@basic-io @file-system"])


@pytest.mark.parametrize(("more", "changed", "found"), [
    ("SystemCallFilter=~@resources", {}, {"sandbox.pinning": "warn"}),
    ("SystemCallFilter=~@resources", {"pin": False}, {"sandbox": "ok"}),
    ("SystemCallFilter=~@ipc", {}, {"sandbox.system_calls": "fail"}),
    ("PrivateNetwork=yes", {}, {"sandbox.network": "fail"}),
    ("PrivateNetwork=yes", {"hub_is_tcp": False}, {"sandbox": "ok"}),
    ("IPAddressDeny=any", {}, {"sandbox.network": "fail"}),
    ("IPAddressDeny=any\nIPAddressAllow=10.0.0.0/8", {}, {"sandbox": "ok"}),
    ("RestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET", {}, {"sandbox.address_families": "fail"}),
    ("RestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX", {}, {"sandbox.address_families": "fail"}),
    ("RestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX", {"hub_is_tcp": False}, {"sandbox": "ok"}),
    ("RestrictAddressFamilies=~AF_UNIX", {}, {"sandbox.address_families": "fail"}),
    ("MemoryDenyWriteExecute=yes", {}, {"sandbox.write_execute": "warn"}),
    ("ProcSubset=pid", {}, {"sandbox.proc": "warn"}),
])  # fmt: skip
def test_what_the_sandbox_closes_is_told(more: str, changed: dict[str, Any], found: dict[str, str]) -> None:
    assert of_sandbox(more, **changed) == found


@pytest.mark.parametrize(("path", "found"), [
    ("/home/me/prices.py", {"sandbox.hidden": "fail"}),
    ("/root/arbd", {"sandbox.hidden": "fail"}),
    ("/tmp/prices.py", {"sandbox.hidden": "fail"}),
    ("/homestead/prices.py", {"sandbox": "ok"}),
    ("/srv/prices.py", {"sandbox": "ok"}),
])  # fmt: skip
def test_what_is_hidden_is_not_found(path: str, found: dict[str, str]) -> None:
    assert of_sandbox(read=[(path, "target")]) == found


def test_homes_may_be_left_readable() -> None:
    assert of_sandbox("ProtectHome=read-only", read=[("/home/me/prices.py", "target")]) == {"sandbox": "ok"}


@pytest.mark.parametrize(("path", "found"), [
    ("/run/arbd/prices", {"sandbox": "ok"}),
    ("/var/lib/arbd/prices/x", {"sandbox": "ok"}),
    ("/run/arbd/_shared", {"sandbox": "ok"}),
    ("/srv/state", {"sandbox.read_only": "fail"}),
    ("/run/arbd/prices-2", {"sandbox.read_only": "fail"}),
])  # fmt: skip
def test_what_is_read_only_cannot_be_written(path: str, found: dict[str, str]) -> None:
    assert of_sandbox(written=[(path, "state_dir")]) == found
