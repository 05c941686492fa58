"""The checks of the machine: CPUs, limits, memory, clock, kernel, environment, packages. Facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from arbd.doctor.checks.clock import ClockFacts, check_clock
from arbd.doctor.checks.cpus import CpuFacts, check_cpus
from arbd.doctor.checks.environment import EnvironmentFacts, check_environment
from arbd.doctor.checks.kernel import KernelFacts, check_kernel
from arbd.doctor.checks.limits import LimitFacts, check_limits
from arbd.doctor.checks.memory import MemoryFacts, ShmFacts, check_memory, needed
from arbd.doctor.checks.packages import PackageFacts, check_packages, fits
from arbd.doctor.findings import Finding, fail, ok, warn, worst

MIB = 1 << 20
GIB = 1 << 30
NOW = 1_796_040_181.0


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    """The level of each check that found something."""
    return {finding.check: finding.level for finding in findings}


def cpus(**changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"allowed": frozenset(range(4)), "quota": None, "source": "here", "workers": "auto"}
    return levels(check_cpus(CpuFacts(**{**facts, "cpus_each": 1, "pin": True, **changed})))


def limits(**changed: Any) -> dict[str, str]:
    facts = {"source": "here", "files": 1024, "files_needed": 100, "processes_needed": 60}
    return levels(check_limits(LimitFacts(**{**facts, **changed})))


def memory(**changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"workers": 4, "cell": MIB, "left": 8 * GIB, "limit": None, "source": "here"}
    return levels(check_memory(MemoryFacts(**{**facts, "shm": ShmFacts(GIB, GIB, 0o1777), **changed})))


def test_the_worst_of_nothing_is_that_all_is_well() -> None:
    assert worst([]) == "ok"
    assert worst([ok("a", ""), fail("b", "", "", ""), warn("c", "", "", "")]) == "fail"


def test_every_finding_that_is_not_good_says_why_and_what_to_do() -> None:
    bad = [
        *check_cpus(CpuFacts(allowed=frozenset({0}), quota=0.5, source="", workers=9, cpus_each=4, pin=True,
                             pin_error="E")),
        *check_limits(LimitFacts(source="", files=1, files_needed=2, processes_needed=9, processes=3, tasks_max=1,
                                 address_space=1, data=1, cpu_time_s=1, file_size=1)),
        *check_memory(MemoryFacts(workers=1, cell=1, left=1, limit=1, source="", overcommit=2)),
        *check_clock(ClockFacts(now=0, is_synchronised=False, source="hpet")),
        *check_kernel(KernelFacts(release="", machine="", python="", problems=["x"], wipes_on_fork=False,
                                  has_gil=False)),
        *check_environment(EnvironmentFacts({"OMP_NUM_THREADS": "8", "PYTHONDEVMODE": "1"}, 1, "")),
        *check_packages([PackageFacts("one", ">=1", ""), PackageFacts("two", ">=2", "1")]),
    ]  # fmt: skip
    assert [finding for finding in bad if finding.level != "ok" and not (finding.why and finding.remedy)] == []
    assert len({finding.check for finding in bad}) == 22


# -- CPUs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{}, {"workers": 4}, {"quota": 4.0}, {"quota": 2.0}, {"claimed": {7: 1}},
                                     {"workers": 2, "claimed": {0: 1, 1: 1}},
                                     {"workers": 8, "allowed": frozenset(range(8))}])  # fmt: skip
def test_workers_with_cpus_of_their_own_are_well(changed: dict[str, Any]) -> None:
    assert cpus(**changed) == {"cpus": "ok"}


@pytest.mark.parametrize(("changed", "checks"), [
    ({"workers": 5}, {"cpus.workers"}),
    ({"workers": 3, "cpus_each": 2}, {"cpus.workers"}),
    ({"cpus_each": 8}, {"cpus.worker_cpus"}),
    ({"quota": 1.5}, {"cpus.quota"}),
    ({"quota": 1.0, "workers": 4}, {"cpus.workers", "cpus.quota"}),
    ({"claimed": {0: 1}}, {"cpus.claimed"}),
    ({"pin_error": "Operation not permitted"}, {"cpus.pinning"}),
    ({"allowed": frozenset({3}), "workers": 2}, {"cpus.workers"}),
])  # fmt: skip
def test_workers_that_share_cpus_are_warned_of(changed: dict[str, Any], checks: set[str]) -> None:
    found = cpus(**changed)
    assert set(found) == checks
    assert set(found.values()) == {"warn"}


def test_without_pinning_nobody_claims() -> None:
    assert cpus(pin=False, claimed={0: 3, 1: 1}, pin_error="E") == {"cpus": "ok"}


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{}, {"files": None}, {"files": 100}, {"processes": 61},
                                     {"tasks_max": 100, "tasks_now": 40},
                                     {"processes": 1, "is_root": True}, {"address_space": 64 * GIB}])  # fmt: skip
def test_a_daemon_that_fits_is_well(changed: dict[str, Any]) -> None:
    assert limits(**changed) == {"limits": "ok"}


@pytest.mark.parametrize(("changed", "found"), [
    ({"files": 99}, {"limits.files": "fail"}),
    ({"processes": 100, "processes_now": 41}, {"limits.processes": "fail"}),
    ({"tasks_max": 100, "tasks_now": 41, "is_root": True}, {"limits.tasks": "fail"}),
    ({"address_space": 512 * MIB}, {"limits.address_space": "fail"}),
    ({"address_space": 8 * GIB}, {"limits.address_space": "warn"}),
    ({"data": 8 * GIB}, {"limits.data": "warn"}),
    ({"cpu_time_s": 3600}, {"limits.cpu_time": "fail"}),
    ({"file_size": MIB}, {"limits.file_size": "warn"}),
])  # fmt: skip
def test_a_limit_that_is_too_low_is_told(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert limits(**changed) == found


# -- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{}, {"left": None}, {"limit": GIB}, {"left": 1, "is_there": True},
                                     {"overcommit": 1}, {"limit": 8 * GIB, "memory_limit": GIB}])  # fmt: skip
def test_enough_memory_is_well(changed: dict[str, Any]) -> None:
    assert memory(**changed) == {"memory": "ok"}


@pytest.mark.parametrize(("changed", "found"), [
    ({"limit": 100 * MIB}, {"memory.limit": "fail"}),
    ({"left": 100 * MIB}, {"memory.left": "warn"}),
    ({"limit": 4 * GIB, "memory_limit": GIB}, {"memory.worker_limit": "warn"}),
    ({"overcommit": 2}, {"memory.overcommit": "warn"}),
    ({"shm": None}, {"memory.shm": "warn"}),
    ({"shm": ShmFacts(64 * MIB, 64 * MIB, 0o1777)}, {"memory.shm": "warn"}),
    ({"shm": ShmFacts(GIB, MIB, 0o1777)}, {"memory.shm": "warn"}),
    ({"shm": ShmFacts(GIB, GIB, 0o755)}, {"memory.shm": "warn"}),
])  # fmt: skip
def test_too_little_memory_is_told(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert memory(**changed) == found


def test_more_workers_need_more() -> None:
    few, many = (MemoryFacts(workers=each, cell=MIB, left=0, limit=0, source="") for each in (1, 100))
    assert needed(many) - needed(few) > 99 * MIB


# -- clock, kernel, environment, packages ---------------------------------------------------------------------------


@pytest.mark.parametrize(("changed", "found"), [
    ({}, {"clock": "ok"}),
    ({"is_synchronised": None}, {"clock": "ok"}),
    ({"is_synchronised": False}, {"clock.synchronised": "warn"}),
    ({"may_be_off_s": 2.0}, {"clock.off": "warn"}),
    ({"now": 1.0}, {"clock.time": "fail"}),
    ({"source": "tsc"}, {"clock": "ok"}),
    ({"source": "acpi_pm"}, {"clock.source": "warn"}),
])  # fmt: skip
def test_a_clock_that_is_wrong_or_slow_is_told(changed: dict[str, Any], found: dict[str, str]) -> None:
    facts: dict[str, Any] = {"now": NOW, "is_synchronised": True, **changed}
    assert levels(check_clock(ClockFacts(**facts))) == found


def test_what_the_kernel_lacks_is_told_with_the_remedy_that_the_start_tells() -> None:
    problem = "arbd needs pidfd_open (to watch), and here it fails with EPERM: something forbids the call"
    (finding,) = check_kernel(KernelFacts(release="6", machine="x86_64", python="3", problems=[problem]))
    assert (finding.level, finding.remedy) == ("fail", "something forbids the call")
    assert "pidfd_open" in finding.what


@pytest.mark.parametrize(("environ", "each", "found"), [
    ({}, 1, {"environment": "ok"}),
    ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": ""}, 1, {"environment": "ok"}),
    ({"OMP_NUM_THREADS": "2"}, 2, {"environment": "ok"}),
    ({"OMP_NUM_THREADS": "2"}, 1, {"environment.threads": "warn"}),
    ({"POLARS_MAX_THREADS": "64"}, 8, {"environment.threads": "warn"}),
    ({"OMP_NUM_THREADS": "many", "TOKENIZERS_PARALLELISM": "true"}, 1, {"environment": "ok"}),
    ({"PYTHONASYNCIODEBUG": "1"}, 1, {"environment.python": "warn"}),
    ({"PYTHONDEVMODE": ""}, 1, {"environment": "ok"}),
])  # fmt: skip
def test_an_environment_that_makes_things_slow_is_told(
    environ: dict[str, str], each: int, found: dict[str, str]
) -> None:
    assert levels(check_environment(EnvironmentFacts(environ, each, "here"))) == found


def test_a_preloaded_allocator_is_named_and_no_warning() -> None:
    found = levels(check_environment(EnvironmentFacts({"LD_PRELOAD": "libjemalloc.so"}, 1, "here")))
    assert found == {"environment.preload": "ok"}


@pytest.mark.parametrize(("version", "bounds", "is_within"), [
    ("1.66.0", ">=1.66,<2", True),
    ("1.65.9", ">=1.66,<2", False),
    ("2.0.0rc1", ">=1.66,<2", False),
    ("1.80", "<2,>=1.66", True),
    ("7.0", ">=5.9.4, <8", True),
    ("1.2.3", "!=1.2.3", False),
    ("1.2", "==1.2.0", True),
    ("3", ">2,<=3", True),
    ("1.2", "~=1.1", True),
    ("unknown", ">=1", False),
    ("1.2", "", True),
])  # fmt: skip
def test_versions_are_compared_by_their_numbers(version: str, bounds: str, is_within: bool) -> None:
    assert fits(version, bounds) is is_within


def test_packages_that_are_missing_or_strange_are_told() -> None:
    assert levels(check_packages([])) == {"packages": "ok"}
    assert levels(check_packages([PackageFacts("grpcio", ">=1.66,<2", "1.70")])) == {"packages": "ok"}
    assert levels(check_packages([PackageFacts("grpcio", ">=1.66,<2", "1.60")])) == {"packages": "warn"}
    assert levels(check_packages([PackageFacts("grpcio", ">=1.66,<2", "")])) == {"packages": "fail"}
