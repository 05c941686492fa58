"""What the kernel tells about CPUs is read from its files; what it does not tell is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbd.host import cpus


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def quota(tmp_path: Path, membership: str, files: dict[str, str]) -> float | None:
    write(tmp_path, {"self": membership, "cgroup/ignored": ""})
    write(tmp_path / "cgroup", files)
    return cpus.quota(tmp_path / "cgroup", tmp_path / "self")


# Topology --------------------------------------------------------------------------------------------------------


def test_cores_of_a_fake_machine(tmp_path: Path) -> None:
    for cpu, (package, core) in {0: (0, 0), 1: (0, 4), 2: (1, 0), 9: (1, 4)}.items():
        topology = f"cpu{cpu}/topology"
        write(tmp_path, {f"{topology}/physical_package_id": f"{package}\n", f"{topology}/core_id": f"{core}\n"})
    assert cpus.cores(frozenset({0, 2, 9}), tmp_path) == {0: (0, 0), 2: (1, 0), 9: (1, 4)}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"core_id": "1"},
        {"physical_package_id": "0"},
        {"core_id": "", "physical_package_id": "0"},
        {"core_id": "1", "physical_package_id": "none"},
    ],
)
def test_a_cpu_of_which_something_is_unknown_is_left_out(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, {f"cpu0/topology/{name}": text for name, text in files.items()})
    write(tmp_path, {"cpu1/topology/core_id": "1", "cpu1/topology/physical_package_id": "0"})
    assert cpus.cores(frozenset({0, 1}), tmp_path) == {1: (0, 1)}


def test_this_machine() -> None:
    allowed = cpus.allowed()
    assert allowed == os.sched_getaffinity(0)
    assert set(cpus.cores(allowed)) <= allowed


def test_pin() -> None:
    cpu = max(cpus.allowed())
    code = f"from arbd.host import cpus; cpus.pin(frozenset({{{cpu}}})); print(sorted(cpus.allowed()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == f"[{cpu}]\n"


# Quota, unified hierarchy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("150000 100000\n", 1.5),
        ("50000 100000\n", 0.5),
        ("max 100000\n", None),
        ("", None),
        ("max\n", None),
        ("many 100000\n", None),
    ],
)
def test_v2(tmp_path: Path, cpu_max: str, expected: float | None) -> None:
    assert quota(tmp_path, "0::/app\n", {"app/cpu.max": cpu_max}) == expected


def test_v2_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {
        "cpu.max": "max 100000",
        "a/cpu.max": "200000 100000",
        "a/b/cpu.max": "max 100000",
        "a/b/c/cpu.max": "400000 100000",
        "a/other/cpu.max": "10000 100000",
    }
    assert quota(tmp_path, "0::/a/b/c\n", files) == 2.0


def test_v2_in_a_container_whose_path_is_the_host_s(tmp_path: Path) -> None:
    """There the path names nothing that is mounted; the quota is at the root of what is."""
    assert quota(tmp_path, "0::/system.slice/docker-1234.scope\n", {"cpu.max": "300000 100000"}) == 3.0


def test_no_group_above_the_mount_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"cpu.max": "100000 100000"})
    assert quota(tmp_path, "0::/\n", {"cpu.max": "max 100000"}) is None


# Quota, one hierarchy per controller -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "period", "expected"),
    [("250000", "100000", 2.5), ("-1", "100000", None), ("0", "100000", None), ("100000", "0", None), ("", "", None)],
)
def test_v1(tmp_path: Path, limit: str, period: str, expected: float | None) -> None:
    files = {"cpu,cpuacct/app/cpu.cfs_quota_us": limit, "cpu,cpuacct/app/cpu.cfs_period_us": period}
    assert quota(tmp_path, "7:memory:/app\n4:cpu,cpuacct:/app\n1:name=systemd:/\n", files) == expected


def test_v1_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "100000",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/a/cpu.cfs_quota_us": "200000",
        "cpu/a/cpu.cfs_period_us": "100000",
    }
    assert quota(tmp_path, "2:cpu:/a\n", files) == 1.0


def test_v1_a_controller_with_cpu_in_its_name_is_not_cpu(tmp_path: Path) -> None:
    files = {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}
    assert quota(tmp_path, "3:cpuset:/\n", files) is None


def test_both_hierarchies_at_once(tmp_path: Path) -> None:
    files = {
        "unified.slice/cpu.max": "400000 100000",
        "cpu/a/cpu.cfs_quota_us": "300000",
        "cpu/a/cpu.cfs_period_us": "100000",
    }
    assert quota(tmp_path, "4:cpu:/a\n0::/unified.slice\n", files) == 3.0


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert cpus.quota(tmp_path, tmp_path / "nothing") is None
    assert quota(tmp_path, "", {}) is None


class Affinity:
    """The CPU mask of a process that is not this one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mask: set[int], forbidden: bool = False) -> None:
        self.mask = frozenset(mask)
        self.forbidden = forbidden
        monkeypatch.setattr(cpus, "allowed", lambda: self.mask)
        monkeypatch.setattr(cpus, "pin", self.pin)

    def pin(self, mask: frozenset[int]) -> None:
        if self.forbidden:
            raise PermissionError(1, "Operation not permitted")
        self.mask = frozenset(mask)


class TestNarrowed:
    @pytest.mark.parametrize(
        ("count", "place", "during"),
        [
            (1, -1, {7}),
            (2, -1, {5, 7}),
            (9, -1, {1, 3, 5, 7}),
            (1, 0, {1}),
            (1, 5, {3}),
            (2, 1, {5, 7}),
            (3, 1, {7, 1, 3}),
        ],
    )
    def test_so_many_cpus_and_all_of_them_again(
        self, monkeypatch: pytest.MonkeyPatch, count: int, place: int, during: set[int]
    ) -> None:
        affinity = Affinity(monkeypatch, {1, 3, 5, 7})
        with cpus.Narrowed(count, place) as narrowed:
            assert affinity.mask == during
        assert affinity.mask == {1, 3, 5, 7}
        assert narrowed.chosen is None

    def test_what_the_code_in_it_chooses_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        affinity = Affinity(monkeypatch, {0, 1, 2})
        with cpus.Narrowed(1) as narrowed:
            affinity.mask = frozenset({0, 1})
        assert affinity.mask == {0, 1}
        assert narrowed.chosen == affinity.mask

    def test_where_it_is_forbidden_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        affinity = Affinity(monkeypatch, {0, 1}, forbidden=True)
        with cpus.Narrowed(1) as narrowed:
            assert affinity.mask == {0, 1}
        assert narrowed.chosen is None

    def test_cpus_that_are_taken_away_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        affinity = Affinity(monkeypatch, {0, 1})
        with cpus.Narrowed(1):
            affinity.forbidden = True
        assert affinity.mask == {1}
