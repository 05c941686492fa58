"""Workers are pinned where no other daemon's are, and what was chosen is claimed; a sandbox that forbids one or the
other costs only that."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from arbd.host import cpus
from arbd.settings.table import Settings, from_flags, resolve
from arbd.supervisor import pinning
from arbd.supervisor.cpu_share import Share, share_of
from arbd.supervisor.pinning import Pinning


class Log:
    """Notes what is logged: the event, and its level."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **words: self.lines.append((level, event, words))


class Claims:
    """What other daemons claim, and what this one does; ``error``: there are no sockets here."""

    def __init__(self, others: dict[int, int]) -> None:
        self.others = others
        self.held: list[int] = []
        self.error: OSError | None = None
        self.notes: list[str] = []

    @contextmanager
    def turn(self, within_s: float) -> Iterator[None]:
        if self.error is not None:
            raise self.error
        self.notes.append("turn")
        yield
        self.notes.append("turn ends")

    def counts(self, among: Collection[int]) -> dict[int, int]:
        self.notes.append("count")
        return {cpu: self.others.get(cpu, 0) + (cpu in self.held) for cpu in among}

    def claim(self, chosen: Collection[int]) -> None:
        self.notes.append("claim")
        self.held = sorted({*self.held, *chosen})

    def hold_only(self, wanted: Collection[int]) -> None:
        self.notes.append("let go")
        self.held = sorted({*self.held} & {*wanted})

    def close(self) -> None:
        self.held = []


class Machine:
    """A machine of four CPUs, of which a quota leaves 2.5. ``pinned``: where the supervisor went."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = frozenset(range(4))
        self.quota: float | None = 2.5
        self.pinned: list[frozenset[int]] = []
        self.pin_error: OSError | None = None
        self.claims = Claims({})
        self.log = Log()
        monkeypatch.setattr(cpus, "allowed", lambda: self.allowed)
        monkeypatch.setattr(cpus, "cores", lambda _: {})
        monkeypatch.setattr(cpus, "quota", lambda: self.quota)
        monkeypatch.setattr(cpus, "pin", self.pin)
        monkeypatch.setattr(cpus, "pin_threads", self.pin)
        monkeypatch.setattr(pinning, "get_logger", lambda _: self.log)

    def pin(self, to: frozenset[int]) -> None:
        if self.pin_error is not None:
            raise self.pin_error
        self.pinned.append(to)

    def assign(self, *, owns_process: bool = True, **flags: Any) -> list[tuple[int, ...]]:
        claims: Any = self.claims
        self.pinning = Pinning(settings(**flags), claims, owns_process=owns_process)
        return self.pinning.slots

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(level, event) for level, event, _ in self.log.lines]


def settings(**flags: Any) -> Settings:
    return resolve([from_flags({name.replace("worker_", "worker."): value for name, value in flags.items()})]).settings


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_workers_are_as_many_as_the_quota_allows_and_the_supervisor_is_beside_them(machine: Machine) -> None:
    assert machine.assign() == [(0,), (1,), (2,)]
    assert machine.pinned == [{3}]
    assert machine.claims.held == [0, 1, 2]
    assert machine.said == []


def test_choosing_and_claiming_are_one_turn(machine: Machine) -> None:
    machine.assign()
    assert machine.claims.notes == ["turn", "count", "claim", "turn ends"]


def test_two_cpus_each(machine: Machine) -> None:
    machine.quota = None
    assert machine.assign(worker_cpus=2) == [(0, 1), (2, 3)]


def test_a_number_of_workers_that_was_asked_for_holds(machine: Machine) -> None:
    assert machine.assign(workers=4, worker_cpus=2) == [(0, 1), (2, 3), (0, 1), (2, 3)]


def test_more_cpus_than_there_are_is_all_of_them_and_is_said(machine: Machine) -> None:
    assert machine.assign(worker_cpus=16) == [(0, 1, 2)]
    assert machine.log.lines == [
        ("warning", "worker_cpus_reduced", {"asked": 16, "cpus": 3, "hint": "there are no more"})
    ]


def test_what_others_claim_comes_last(machine: Machine) -> None:
    machine.claims.others = {0: 1, 1: 1}
    assert machine.assign(workers=1) == [(2,)]
    assert machine.pinned == [{3}]
    assert machine.said == []


def test_a_busy_host_is_shared_and_that_is_said(machine: Machine) -> None:
    machine.claims.others = dict.fromkeys(range(4), 1)
    assert machine.assign(workers=2) == [(0,), (1,)]
    ((level, event, words),) = machine.log.lines
    assert (level, event, words["cpus"]) == ("info", "cpus_shared", "0-1")
    assert machine.claims.held == [0, 1]


def test_unpinned_workers_claim_nothing(machine: Machine) -> None:
    assert machine.assign(pin=False) == [()] * 3
    assert (machine.claims.notes, machine.pinned) == ([], [])


def test_a_sandbox_that_forbids_pinning_leaves_all_unpinned_and_unclaimed(machine: Machine) -> None:
    machine.pin_error = PermissionError(1, "Operation not permitted")
    assert machine.assign() == [()] * 3
    assert machine.claims.held == []
    assert machine.said == [("warning", "not_pinned")]


@pytest.mark.parametrize("error", [PermissionError(1, "forbidden"), OSError(24, "Too many open files")])
def test_without_claims_workers_are_pinned_all_the_same(machine: Machine, error: OSError) -> None:
    machine.claims.error = error
    assert machine.assign() == [(0,), (1,), (2,)]
    assert machine.said == [("info", "cpus_not_claimed")]


def test_who_does_not_own_the_process_leaves_it_where_it_is_and_looks_at_nobody_else(machine: Machine) -> None:
    machine.claims.others = {0: 1}
    assert machine.assign(owns_process=False) == [(0,), (1,), (2,)]
    assert (machine.claims.notes, machine.pinned) == ([], [])


@pytest.mark.parametrize(
    ("flags", "share"),
    [
        ({}, Share(3, 1)),
        ({"worker_cpus": 2}, Share(1, 2)),
        ({"worker_cpus": 9}, Share(1, 3)),
        ({"workers": 5, "worker_cpus": 2}, Share(5, 2)),
    ],
)
def test_the_share_of_a_worker(machine: Machine, flags: dict[str, Any], share: Share) -> None:
    assert share_of(settings(**flags)) == share


def test_more_workers_are_placed_beside_those_that_are_there(machine: Machine) -> None:
    machine.assign(workers=2)
    machine.allowed = frozenset({2, 3})  # of the process, that was moved: not what its workers may use
    assert machine.pinning.resize(3) == [(0,), (1,), (2,)]
    assert (machine.claims.held, machine.pinned[-1]) == ([0, 1, 2], frozenset({3}))


def test_more_workers_come_where_no_other_daemon_is_by_then(machine: Machine) -> None:
    machine.assign(workers=1)
    machine.claims.others = {1: 1}
    assert machine.pinning.resize(2) == [(0,), (2,)]


def test_fewer_workers_give_their_cpus_back(machine: Machine) -> None:
    machine.assign(workers=3)
    assert machine.pinning.resize(1) == [(0,)]
    assert (machine.claims.held, machine.pinned[-1]) == ([0], frozenset({1, 2, 3}))


def test_more_workers_of_a_daemon_that_is_not_pinned_are_not_either(machine: Machine) -> None:
    machine.pin_error = PermissionError(1, "Operation not permitted")
    machine.assign(workers=1)
    assert machine.pinning.resize(3) == [()] * 3
    assert (machine.pinning.resize(2), machine.claims.held) == ([()] * 2, [])


def test_a_supervisor_that_may_not_be_moved_any_more_costs_only_that(machine: Machine) -> None:
    machine.assign(workers=1)
    machine.pin_error = PermissionError(1, "Operation not permitted")
    assert machine.pinning.resize(2) == [(0,), (1,)]
    assert machine.said == [("warning", "supervisor_not_moved")]


def test_more_workers_without_sockets_are_pinned_all_the_same(machine: Machine) -> None:
    machine.assign(workers=1)
    machine.claims.error = OSError(24, "Too many open files")
    assert machine.pinning.resize(2) == [(0,), (1,)]


def test_who_does_not_own_the_process_moves_nobody_when_there_are_more(machine: Machine) -> None:
    machine.assign(owns_process=False, workers=1)
    assert machine.pinning.resize(2) == [(0,), (1,)]
    assert (machine.claims.notes, machine.pinned) == ([], [])


@pytest.mark.parametrize(("flags", "workers"), [({}, 3), ({"worker_cpus": 3}, 1), ({"workers": 9}, 9)])
def test_how_many_workers_other_settings_would_come_to(machine: Machine, flags: dict[str, Any], workers: int) -> None:
    machine.assign(workers=1)
    machine.allowed = frozenset({2, 3})  # of the process, that was moved
    assert machine.pinning.workers_of(settings(**flags)) == workers
