"""More workers than the machine has descriptors or memory for are refused, with what is lacking and what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from arbd.core.lifecycle import State
from arbd.errors import ConfigError
from arbd.host import footprint, memory_left, open_files
from arbd.supervisor import needs

MIB = 1 << 20
RING = MIB // 2


def pool_of(*states: State) -> Any:
    workers = {n: SimpleNamespace(slot=n, pid=100 + n, state=state) for n, state in enumerate(states)}
    return SimpleNamespace(workers=workers)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """What is left of memory, and what a worker has for itself."""
    has: dict[str, int | None] = {"left": 1000 * MIB, "private": 100 * MIB}
    monkeypatch.setattr(memory_left, "left", lambda: has["left"])
    monkeypatch.setattr(footprint, "private_of", lambda pid: has["private"])
    return has


def test_what_each_needs_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(open_files, "require", lambda *words: asked.append(words))
    needs.require_files(10, 2, 5)
    assert asked == [(48 + 160 + 24 + 5, "10 workers and 2 link processes")]


def test_memory_that_is_there_is_enough(machine: dict[str, int | None]) -> None:
    needs.require_memory(9, pool_of(State.SERVING), RING)


def test_too_little_of_it_is_told_with_what_one_worker_has(machine: dict[str, int | None]) -> None:
    with pytest.raises(ConfigError) as caught:
        needs.require_memory(10, pool_of(State.STARTING, State.SERVING), RING)
    assert str(caught.value) == (
        "10 more workers need 1011 MiB of memory (102 MiB each, as worker 1 has), and 1000 MiB are left; have fewer "
        "workers, or give them more memory (systemd: MemoryMax=)"
    )


def test_without_a_worker_to_look_at_it_is_what_the_daemon_shares_with_each(machine: dict[str, int | None]) -> None:
    needs.require_memory(900, pool_of(State.STARTING), RING)
    with pytest.raises(ConfigError, match="2 MiB each"):
        needs.require_memory(1000, pool_of(), RING)


@pytest.mark.parametrize("unknown", ["left", "private"])
def test_what_nobody_can_tell_refuses_nobody(machine: dict[str, int | None], unknown: str) -> None:
    machine[unknown] = None
    needs.require_memory(100, pool_of(State.SERVING), RING)
