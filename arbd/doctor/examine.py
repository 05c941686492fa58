"""The examination: every topic in its order, from the facts to what was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from arbd.doctor.case import Case
from arbd.doctor.checks.clock import check_clock
from arbd.doctor.checks.cpus import check_cpus
from arbd.doctor.checks.directories import check_directories
from arbd.doctor.checks.environment import EnvironmentFacts, check_environment
from arbd.doctor.checks.hub import check_hub
from arbd.doctor.checks.kernel import check_kernel
from arbd.doctor.checks.limits import check_limits
from arbd.doctor.checks.memory import check_memory
from arbd.doctor.checks.metrics import check_metrics
from arbd.doctor.checks.packages import check_packages
from arbd.doctor.checks.running import RunningFacts, check_running
from arbd.doctor.checks.sandbox import check_sandbox
from arbd.doctor.checks.secrets import check_secrets
from arbd.doctor.checks.settings import check_settings
from arbd.doctor.checks.unit import check_unit
from arbd.doctor.findings import Finding, warn
from arbd.doctor.readers import daemons, files, hub, installed, machine, metrics
from arbd.errors import os_reason

#: The topics, in the order in which they are told.
TOPICS: Final = (
    *("settings", "secrets", "hub", "daemon", "metrics", "cpus", "limits", "memory", "directories"),
    *("environment", "unit", "sandbox", "clock", "kernel", "packages"),
)


class NamedTarget(msgspec.Struct, frozen=True):
    """The target of the command line, if there is one: why it does not load, and whether it was loaded."""

    name: str = ""
    error: str = ""
    was_loaded: bool = False


def examine(case: Case, target: NamedTarget, shipped: Callable[[str], bool]) -> list[Finding]:
    """Everything that is found. ``shipped``: whether a text is that of a unit as another version of arbd wrote it."""
    with contextlib.chdir(case.directory) if Path(case.directory).is_dir() else contextlib.nullcontext():
        return _examine(case, target, shipped)


def _examine(case: Case, target: NamedTarget, shipped: Callable[[str], bool]) -> list[Finding]:
    running = _running(case)
    own_cpus = {cpu for report in running.reports for worker in report.workers for cpu in worker.cpus}
    cpu_facts = machine.cpu_facts(case, own_cpus)
    workers, each = machine.workers_of(cpu_facts)
    where = hub.target_of(case.settings)
    uses_tls = where is not None and where.tls
    has_hub = any(report.link.state == "up" for report in running.reports)
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "settings": lambda: check_settings(
            files.setting_facts(case, target=target.name, target_error=target.error, was_loaded=target.was_loaded)
        ),
        "secrets": lambda: (
            check_secrets(files.secret_facts(case, is_local=hub.is_local(where), uses_tls=uses_tls))
            if case.has_hub
            else ()
        ),
        "hub": lambda: check_hub(hub.hub_facts(case, is_running=has_hub)) if case.has_hub else (),
        "daemon": lambda: check_running(running),
        "metrics": lambda: check_metrics(metrics.metrics_facts(case, running.reports)),
        "cpus": lambda: check_cpus(cpu_facts),
        "limits": lambda: check_limits(machine.limit_facts(case, workers, min(workers * each, len(cpu_facts.allowed)))),
        "memory": lambda: check_memory(machine.memory_facts(case, workers, is_there=bool(running.reports))),
        "directories": lambda: check_directories(files.directory_facts(case), case.account),
        "environment": lambda: check_environment(EnvironmentFacts(case.environ, each, case.environ_source)),
        "unit": lambda: check_unit(installed.unit_facts(case, shipped)),
        "sandbox": lambda: check_sandbox(installed.sandbox_facts(case, target.name, where)),
        "clock": lambda: check_clock(machine.clock_facts()),
        "kernel": lambda: check_kernel(machine.kernel_facts()),
        "packages": lambda: check_packages(machine.package_facts()),
    }
    return [finding for topic in TOPICS for finding in _one(topic, checks[topic])]


def _one(topic: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a topic comes to; that it could not be looked at is a finding as well, and the others go on."""
    try:
        return list(check())
    except OSError as error:
        return [
            warn(
                topic,
                f"this could not be looked at: {os_reason(error)}",
                "what is wrong with it would not be seen",
                "ask as root, or as the daemon's user",
            )
        ]


def _running(case: Case) -> RunningFacts:
    try:
        return daemons.running_facts(case)
    except OSError:  # nothing to ask with; the topics say why
        return RunningFacts(reports=[], version="")
