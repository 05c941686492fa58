"""``arbd doctor``: how findings are told, and its exit codes; what was found is made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_support import invoke

from arbd.cli import _unit_files, doctor
from arbd.doctor import examine
from arbd.doctor.findings import Finding, fail, ok, warn
from arbd.doctor.readers import units

GOOD = ok("cpus", "2 of them")
DUBIOUS = warn("clock.synchronised", "it drifts", "times are wrong", "install something")
BAD = fail("hub.tls", "no\x1b[31mt trusted", "no connection", "name the authority")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(units, "_systemctl", lambda *_: None)


def found(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(examine, "examine", lambda *_: list(findings))


@pytest.mark.parametrize(("findings", "code"), [([GOOD], 0), ([GOOD, DUBIOUS], 0), ([DUBIOUS, BAD, GOOD], 1), ([], 0)])
def test_the_exit_code_is_1_if_something_fails(
    monkeypatch: pytest.MonkeyPatch, findings: Sequence[Finding], code: int
) -> None:
    found(monkeypatch, *findings)
    assert invoke("doctor").exit_code == invoke("doctor", "--json").exit_code == code


def test_each_finding_has_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, GOOD, DUBIOUS, BAD)
    text = invoke("doctor").stdout
    assert "ok    cpus         2 of them" in text
    assert "why  times are wrong" in text
    assert "do   name the authority" in text
    assert "1 failure, 1 warning, 1 ok." in text
    assert "\x1b" not in text


def test_the_document_has_names_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, GOOD, BAD)
    document = json.loads(invoke("doctor", "--json").stdout)
    assert (document["good"], document["level"]) == (False, "fail")
    assert document["counts"] == {"ok": 1, "warn": 0, "fail": 1}
    assert document["findings"][1] == {
        "check": "hub.tls",
        "level": "fail",
        "what": BAD.what,
        "why": "no connection",
        "do": "name the authority",
    }


def test_a_unit_of_another_version_is_told_from_one_that_somebody_changed() -> None:
    now = _unit_files.stamped("arbd@.service", "/opt/arbd/bin/arbd")
    assert not doctor._is_outdated(now)
    body = now.partition("\n")[2].replace("WatchdogSec=30s\n", "")
    before = f"# Written by arbd install-units ({_unit_files._digest(body)}); as it was\n{body}"
    assert doctor._is_outdated(before)
    assert not doctor._is_outdated(before.replace("OOMPolicy=continue", "OOMPolicy=stop"))
    assert not doctor._is_outdated("")


def test_the_help_teaches() -> None:
    text = invoke("doctor", "--help").stdout
    assert "Examples:" in text
    assert "Exit codes" in text


def test_a_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = invoke("doctor")
    monkeypatch.chdir(tmp_path)
    assert (result.exit_code, "cannot be looked for" in result.stderr) == (1, True)
