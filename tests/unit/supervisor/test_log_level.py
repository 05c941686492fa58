"""The log level that an operator asks for reaches every process, and outlives a reload that does not change it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from arbd import logs
from arbd.host import doorbell
from arbd.ipc import layout
from arbd.ipc.cell import SupervisorCell
from arbd.settings.table import resolve
from arbd.supervisor.in_force import InForce
from arbd.supervisor.log_level import LogLevelChange

RING = layout.MIN_RING_BYTES


class FakeGenerations:
    def __init__(self) -> None:
        self.levels: list[str] = []
        self.adjusts: list[Any] = []

    def set_log_level(self, level: str) -> None:
        self.levels.append(level)


class Worker:
    def __init__(self) -> None:
        self.bell = id(self)
        store: Any = bytearray(layout.cell_bytes(RING))
        self.words = memoryview(store).cast("Q")
        self.cell = SupervisorCell(store, self.words, RING)


class Pool:
    def __init__(self) -> None:
        self.workers = {1: Worker(), 2: Worker()}
        self.fences = 0

    def fence(self) -> None:
        self.fences += 1


class Levels:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rung: list[int] = []
        self.changed: list[str] = []
        self.told: list[str] = []
        monkeypatch.setattr(doorbell, "ring", self.rung.append)
        monkeypatch.setattr(logs, "change_level", self.changed.append)
        self.pool = Pool()
        generations: Any = FakeGenerations()
        self.generations = generations
        self.in_force = InForce(resolve([]).settings)
        self.in_force.add(lambda settings: self.told.append(settings.log_level))
        flow: Any = type("Flow", (), {"pool": self.pool})()
        self.change = LogLevelChange(self.in_force, flow, self.generations)

    def reloaded(self, level: str) -> str:
        """The level after a reload that finds this one in the settings."""
        settings: Any = msgspec.structs.replace(self.in_force.settings, log_level=level)
        [adjust] = self.generations.adjusts
        return str(adjust(settings).log_level)


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> Levels:
    return Levels(monkeypatch)


def test_every_process_is_told(levels: Levels) -> None:
    levels.change.set("debug")
    assert (levels.changed, levels.generations.levels, levels.told) == (["debug"], ["debug"], ["debug"])
    workers = levels.pool.workers.values()
    assert [worker.words[layout.LOG_LEVEL] for worker in workers] == [10, 10]
    assert levels.rung == [worker.bell for worker in workers]
    assert levels.pool.fences == 1  # the word is there before they wake


def test_a_reload_keeps_it_unless_the_settings_have_another_one_than_before(levels: Levels) -> None:
    assert levels.reloaded("info") == "info"
    levels.change.set("debug")
    assert levels.reloaded("info") == "debug"
    levels.change.set("error")
    assert levels.reloaded("info") == "error"
    assert levels.reloaded("warning") == "warning"
    assert levels.reloaded("warning") == "warning"


def test_one_that_is_asked_for_while_workers_of_a_reload_warm_up_holds(levels: Levels) -> None:
    """What a reload has found is adjusted when its workers are started, and again when the first of them is ready."""
    assert levels.reloaded("warning") == "warning"
    levels.change.set("debug")
    assert levels.reloaded("warning") == "debug"
