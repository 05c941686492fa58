"""Settings, directories and the daemon that runs: facts in, findings out."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from arbd.control.reports import OutOfService, StatusReport
from arbd.doctor.checks.access import PathFacts, ServiceUser
from arbd.doctor.checks.directories import DirectoryFacts, check_directories
from arbd.doctor.checks.running import RunningFacts, check_running
from arbd.doctor.checks.settings import NamedFile, SettingFacts, check_settings
from arbd.model.link_stats import LinkStats

ARBD = ServiceUser("arbd", 990, frozenset({990}))
MINE = PathFacts("/run/arbd", 990, 990, stat.S_IFDIR | 0o700)
MIB = 1 << 20


def settings(**changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"source": "arbd.toml", "account": ARBD, "name": "prices", **changed}
    return {finding.check: finding.level for finding in check_settings(SettingFacts(**facts))}


def directory(**changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"setting": "runtime_dir", "path": "/run/arbd", "here": MINE, "is_there": True, **changed}
    return {finding.check: finding.level for finding in check_directories([DirectoryFacts(**facts)], ARBD)}


def running(version: str = "1", **changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"provider": "prices", "version": "1", "pid": 1, "state": "serving", "uptime_s": 1.0}
    facts |= {"hub": "hub:1", "link": LinkStats(state="up"), "workers": [], "in_flight": 0, "backlog": 0}
    facts |= {"outbox": 0, "outbox_limit": 1, "verdicts": {}, **changed}
    found = check_running(RunningFacts(reports=[StatusReport(**facts)], version=version))
    return {finding.check: finding.level for finding in found}


@pytest.mark.parametrize(("changed", "found"), [
    ({}, {"settings": "ok"}),
    ({"problems": ["arbd.toml: there is no setting wrokers"]}, {"settings": "fail"}),
    ({"warnings": ["hub.links is retired; remove it"]}, {"settings.retired": "warn"}),
    ({"target_error": "prices.py: no such file"}, {"settings.target": "fail"}),
    ({"unit": "arbd@prices.service"}, {"settings.target": "fail"}),
    ({"unit": "arbd@prices.service", "unit_names_target": True}, {"settings": "ok"}),
    ({"unit": "arbd@prices.service", "target": "a.b"}, {"settings": "ok"}),
    ({"name": ""}, {"settings": "ok"}),
    ({"name": "", "target_was_loaded": True}, {"settings.name": "fail"}),
    ({"files": [NamedFile("env_file", "/x", [PathFacts("/x", error="gone")])]}, {"settings.file": "fail"}),
    ({"files": [NamedFile("env_file", "/x", [PathFacts("/x", mode=0o100600)])]}, {"settings.closed": "warn"}),
])  # fmt: skip
def test_settings(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert settings(**changed) == found


@pytest.mark.parametrize(("changed", "found"), [
    ({}, {"directories": "ok"}),
    ({"here": PathFacts("/run/arbd", 0, 0, stat.S_IFDIR | 0o700)}, {"directories.owner": "fail"}),
    ({"here": PathFacts("/run/arbd", 990, 0, stat.S_IFDIR | 0o770)}, {"directories.mode": "fail"}),
    ({"here": PathFacts("/run/arbd", 990, 0, stat.S_IFDIR | 0o500)}, {"directories.closed": "fail"}),
    ({"here": PathFacts("/x", 0, 0, stat.S_IFDIR | 0o777), "is_private": False}, {"directories": "ok"}),
    ({"here": PathFacts("/run", 0, 0, stat.S_IFDIR | 0o755), "is_there": False}, {"directories.closed": "fail"}),
    ({"here": PathFacts("/run"), "is_there": False, "made_by_unit": True}, {"directories": "ok"}),
    ({"here": PathFacts("/tmp", 0, 0, stat.S_IFDIR | 0o1777), "is_there": False}, {"directories": "ok"}),
    ({"is_there": False, "can_be_made": False}, {"directories.missing": "fail"}),
    ({"is_read_only": True}, {"directories.read_only": "fail"}),
    ({"free": MIB}, {"directories.full": "fail"}),
    ({"free": 99 * MIB, "free_files": 3}, {"directories.full": "fail"}),
    ({"free": 99 * MIB, "free_files": 9999}, {"directories": "ok"}),
])  # fmt: skip
def test_directories(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert directory(**changed) == found


@pytest.mark.parametrize(("changed", "found"), [
    ({}, {"daemon": "ok"}),
    ({"version": "0"}, {"daemon.version": "warn"}),
    ({"link": LinkStats(state="refused")}, {"daemon.hub": "warn"}),
    ({"log_lines_lost": 3}, {"daemon.log": "warn"}),
    ({"out_of_service": [OutOfService(0, "unfit", "E", 1, 1.0)]}, {"daemon.worker": "warn"}),
])  # fmt: skip
def test_the_daemon_that_runs(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert running(**changed) == found


def test_no_daemon_and_one_that_is_silent() -> None:
    assert [each.level for each in check_running(RunningFacts(reports=[], version="1"))] == ["ok"]
    silent = check_running(RunningFacts(reports=[], version="1", silent=["/run/arbd/prices.sock: no answer"]))
    assert [each.level for each in silent] == ["warn"]
