"""Tasks of a control group and of a user are counted; the group with the least room counts."""

from __future__ import annotations

import os
from pathlib import Path

from arbd.host import task_count
from arbd.host.task_count import TaskLimit


def write(directory: Path, most: str, now: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pids.max").write_text(f"{most}\n")
    (directory / "pids.current").write_text(f"{now}\n")


def test_the_group_with_the_least_room_counts(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("8:pids:/a/b\n1:cpu:/x\n0::/c\n")
    assert task_count.of_group(membership, tmp_path) is None
    write(tmp_path / "pids/a/b", "max", 7)
    write(tmp_path / "pids/a", "100", 10)
    assert task_count.of_group(membership, tmp_path) == TaskLimit(100, 10)
    write(tmp_path / "c", "50", 5)
    assert task_count.of_group(membership, tmp_path) == TaskLimit(50, 5)
    assert task_count.of_group(tmp_path / "gone", tmp_path) is None


def test_the_threads_of_a_user_are_counted(tmp_path: Path) -> None:
    for pid, threads in (("1", 3), ("22", 1)):
        for thread in range(threads):
            (tmp_path / pid / "task" / str(thread)).mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "33").mkdir()  # one that ends in this moment: it has no tasks any more
    assert task_count.of_user(os.getuid(), tmp_path) == 4
    assert task_count.of_user(os.getuid() + 1, tmp_path) == 0
