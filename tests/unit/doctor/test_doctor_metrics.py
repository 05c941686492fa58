"""What is said of the address of metrics and probes: served, silent, free, another's, open to others."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.control.reports import StatusReport
from arbd.doctor.checks.metrics import MetricsFacts, check_metrics
from arbd.doctor.readers import metrics
from arbd.model.link_stats import LinkStats


def report(where: str) -> StatusReport:
    """Of a daemon that serves metrics there."""
    return StatusReport("prices", "1", 7, "serving", 60.0, "hub", LinkStats("up"), [], 0, 0, 0, 9, {}, metrics=where)


def case_of(where: str | None, uid: int = 0, capabilities: str | None = None) -> Any:
    """With this setting, user and unit."""
    unit = None if capabilities is None else SimpleNamespace(all=lambda name: [capabilities])
    settings = SimpleNamespace(metrics_listen=where)
    return SimpleNamespace(settings=settings, account=SimpleNamespace(uid=uid), unit=unit)


def levels(facts: MetricsFacts | None) -> dict[str, str]:
    return {finding.check: finding.level for finding in check_metrics(facts)}


@pytest.mark.parametrize(("changed", "found"), [
    ({}, {"metrics": "ok"}),
    ({"refusal": "Address already in use"}, {"metrics.port": "fail"}),
    ({"is_running": True}, {"metrics.later": "warn"}),
    ({"is_running": True, "is_served": True}, {"metrics": "ok"}),
    ({"is_running": True, "is_served": True, "silence": "503"}, {"metrics.silent": "fail"}),
    ({"is_open": True}, {"metrics.open": "warn", "metrics": "ok"}),
])  # fmt: skip
def test_what_is_found(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert levels(MetricsFacts(address="127.0.0.1:9100", **changed)) == found


def test_nothing_is_said_where_none_are_asked_for() -> None:
    assert metrics.metrics_facts(case_of(None), []) is None
    assert levels(None) == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_another_has(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as other:
        port = other.getsockname()[1]
        facts = metrics.metrics_facts(case_of(f"[{address}]:{port}" if ":" in address else f"{address}:{port}"), [])
    assert facts is not None
    assert "in use" in facts.refusal


def test_a_free_port_stays_free() -> None:
    facts = metrics.metrics_facts(case_of("127.0.0.1:0"), [])
    assert facts == MetricsFacts(address="127.0.0.1:0")


@pytest.mark.parametrize(("uid", "capabilities", "is_refused"), [
    (0, None, False), (1000, None, True), (1000, "", True), (1000, "CAP_NET_BIND_SERVICE", False),
])  # fmt: skip
def test_ports_of_root_are_for_root_or_who_was_given_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, capabilities: str | None, is_refused: bool
) -> None:
    monkeypatch.setattr(metrics, "_FIRST_FREE", tmp_path / "not there")
    monkeypatch.setattr(socket.socket, "bind", lambda *_: None)
    facts = metrics.metrics_facts(case_of("127.0.0.1:90", uid, capabilities), [])
    assert facts is not None
    assert bool(facts.refusal) is is_refused


def test_a_daemon_that_says_where_it_serves_is_asked_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        where = f"127.0.0.1:{gone.getsockname()[1]}"
    facts = metrics.metrics_facts(case_of(where), [report("127.0.0.1:1"), report(where)])
    assert facts is not None
    assert facts.is_served
    assert "refused" in facts.silence


def test_one_that_answers_in_no_time_or_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, words in ((TimeoutError(), "not within 2 s"), (http.client.BadStatusLine("x"), "no HTTP")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(http.client.HTTPConnection, "request", fail)
        facts = metrics.metrics_facts(case_of("127.0.0.1:9100"), [report("127.0.0.1:9100")])
        assert facts is None or words in facts.silence
