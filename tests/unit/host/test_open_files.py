"""The soft limit of descriptors is raised as far as needed; where the hard one forbids that, the numbers are told."""

from __future__ import annotations

import resource

import pytest

from arbd.errors import ConfigError
from arbd.host import open_files

UNLIMITED = resource.RLIM_INFINITY


class Limit:
    """The limit of a process that does not exist."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (90, 500, 500),
        (1024, 1 << 20, 65_536),
        (1024, UNLIMITED, 65_536),
        (1 << 20, 1 << 20, 1 << 20),
        (UNLIMITED, UNLIMITED, UNLIMITED),
    ],
)
def test_the_limit_is_raised_and_what_was_before_is_told(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int
) -> None:
    limit = Limit(monkeypatch, soft, hard)
    assert open_files.raise_limit() == soft
    assert limit.now == (raised, hard)


@pytest.mark.parametrize(("soft", "hard"), [(100, 100), (100, 50_000), (50, UNLIMITED), (UNLIMITED, UNLIMITED)])
def test_what_is_needed_is_there_or_can_be_had(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
    limit = Limit(monkeypatch, soft, hard)
    open_files.require(100, "8 workers")
    assert limit.now[0] == UNLIMITED or limit.now[0] >= 100


def test_what_cannot_be_had_is_told_with_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    Limit(monkeypatch, 64, 90)
    with pytest.raises(ConfigError, match=r"8 workers need 100 open files, and the limit is 90 .*LimitNOFILE"):
        open_files.require(100, "8 workers")
