"""What is left of memory is the least that the host or a control group has; what cannot be read says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.host import memory_left

KIB = 1024


class Kernel:
    """The files of a kernel, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.meminfo = directory / "meminfo"
        self.membership = directory / "cgroup"
        self.root = directory / "groups"
        self.meminfo.write_text("MemTotal:       2000 kB\nMemAvailable:   1000 kB\n")
        self.membership.write_text("0::/system/arbd\n")

    def group(self, path: str, limit: str, current: int, cache: int = 0) -> None:
        directory = self.root / path
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.max").write_text(f"{limit}\n")
        (directory / "memory.current").write_text(f"{current}\n")
        (directory / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\nactive_file 7\n")

    def left(self) -> int | None:
        return memory_left.left(self.meminfo, self.membership, self.root)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_without_groups_it_is_the_hosts(kernel: Kernel) -> None:
    assert kernel.left() == 1000 * KIB


def test_the_tightest_group_counts_its_parents_included(kernel: Kernel) -> None:
    kernel.group("system/arbd", str(800 * KIB), 100 * KIB)
    assert kernel.left() == 700 * KIB
    kernel.group("system", str(500 * KIB), 100 * KIB)
    assert kernel.left() == 400 * KIB


def test_cache_that_nobody_uses_can_be_had(kernel: Kernel) -> None:
    kernel.group("system/arbd", str(500 * KIB), 400 * KIB, cache=250 * KIB)
    assert kernel.left() == 350 * KIB


def test_a_group_without_limit_says_nothing_and_a_full_one_has_none(kernel: Kernel) -> None:
    kernel.group("system/arbd", "max", 400 * KIB)
    assert kernel.left() == 1000 * KIB
    kernel.group("system", str(100 * KIB), 400 * KIB)
    assert kernel.left() == 0


@pytest.mark.parametrize("content", ["", "MemAvailable:\n", "MemAvailable: much kB\n", "\0\0"])
def test_nonsense_of_the_kernel_is_nothing_known(kernel: Kernel, content: str) -> None:
    kernel.meminfo.write_text(content)
    kernel.membership.write_text("12:memory:/old\n")
    assert kernel.left() is None


def test_files_that_are_not_there_are_nothing_known(tmp_path: Path) -> None:
    assert memory_left.left(tmp_path / "a", tmp_path / "b", tmp_path) is None


def test_this_machine_has_some() -> None:
    left = memory_left.left()
    assert left is None or left > 0


def test_the_tightest_limit_of_either_version_counts(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    assert memory_left.limit(kernel.membership, kernel.root) is None
    kernel.group("system/arbd", "max", 1)
    kernel.group("system", "5000", 1)
    assert memory_left.limit(kernel.membership, kernel.root) == 5000
    kernel.membership.write_text("4:cpu,memory:/a/b\n0::/system/arbd\n")
    first = kernel.root / "cpu,memory/a/b"
    first.mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (first.parent / "memory.limit_in_bytes").write_text("4000\n")
    assert memory_left.limit(kernel.membership, kernel.root) == 4000


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_left.limit(tmp_path / "gone", tmp_path) is None
