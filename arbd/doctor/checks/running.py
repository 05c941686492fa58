"""The daemon of this provider that runs now, if one does: whether it is as it was installed and set."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from arbd.control.reports import StatusReport
from arbd.doctor.findings import Finding, ok, warn


class RunningFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The daemons that answer. ``reports``: of this provider. ``silent``: sockets at which nobody answers in time, with
    why. ``version``: of the arbd that asks."""

    reports: list[StatusReport]
    version: str
    silent: list[str] = []


def check_running(facts: RunningFacts) -> Iterator[Finding]:
    """How the daemon is."""
    for each in facts.silent:
        yield warn(
            "daemon.silent",
            each,
            "a daemon answers in milliseconds, whatever its workers do",
            "arbd stacks, or the log, say where it stands",
        )
    for report in facts.reports:
        findings = [*_check(report, facts.version)]
        yield from findings
        if not findings:
            yield ok("daemon", f"{report.provider} runs (pid {report.pid}), {report.state}, hub {report.link.state}")
    if not facts.reports and not facts.silent:
        yield ok("daemon", "no daemon of this provider runs here")


def _check(report: StatusReport, version: str) -> Iterator[Finding]:
    who = f"{report.provider} (pid {report.pid})"
    if report.version != version:
        yield warn(
            "daemon.version",
            f"{who} is arbd {report.version}, and installed is {version}",
            "workers that it starts from now on are of another version than itself",
            "restart it; install a new version beside the old one (deploy.md, upgrade)",
        )
    if report.link.state != "up":
        yield warn(
            "daemon.hub",
            f"{who}: its hub is {report.link.state}",
            "it takes no tasks, and keeps results until the hub is back",
            "see what is said of the hub; arbd events tells since when",
        )
    for slot in report.out_of_service:
        yield warn(
            "daemon.worker",
            f"{who}: worker {slot.slot} is out of service: {slot.reason}",
            "one worker fewer",
            "arbd status says when it is tried again",
        )
    if report.log_lines_lost:
        yield warn(
            "daemon.log",
            f"{who} has lost {report.log_lines_lost} lines of its log",
            "what reads its standard error falls behind, or its disk is full",
            "look at the journal's limits (RateLimitBurst= in journald.conf) and at the disk",
        )
