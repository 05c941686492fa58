"""The out-of-memory score is raised from what it is, and never above what the kernel takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.host import oom


@pytest.mark.parametrize(
    ("before", "after"), [("0\n", 300), ("-100\n", 200), ("-1000", -700), ("999", 1000), ("1000", 1000)]
)
def test_it_is_raised_from_what_it_is(tmp_path: Path, before: str, after: int) -> None:
    file = tmp_path / "oom_score_adj"
    file.write_text(before)
    assert oom.raise_score(300, str(file)) == after
    assert file.read_text() == str(after)


def test_where_there_is_none_the_caller_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        oom.raise_score(300, str(tmp_path / "nothing"))
