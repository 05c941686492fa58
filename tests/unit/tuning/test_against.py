"""Two builds by turns: each block has its four runs, and what goes wrong says in which build."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tuning_support import OWN, sample

from arbd.errors import ArbdError
from arbd.settings.table import resolve
from arbd.tuning import against as module
from arbd.tuning.against import Against
from arbd.tuning.bench import BenchRequest
from arbd.tuning.build import Build, BuildError
from arbd.tuning.daemon_process import DaemonError
from arbd.tuning.measure import LoadSpec
from arbd.tuning.own import Workload
from arbd.tuning.paired import BuildFacts, fewest_blocks
from arbd.tuning.record import Point, Sample

OTHER = Build("/other/bin/python")
Rate = Callable[[LoadSpec], float]


def request(blocks: int) -> BenchRequest:
    return BenchRequest(
        workload=Workload("prices.py", "total", b"{}", b""),
        timeout_s=1.0,
        resolved=resolve([]),
        asked={"protocol": ["stream"]},
        full=False,
        only_protocols=False,
        duration_s=0.2,
        repeats=blocks,
    )


@pytest.fixture(autouse=True)
def facts(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {OTHER.python: "1.0", sys.executable: "1.1"}
    monkeypatch.setattr(module, "probe", lambda build, _: BuildFacts("3.11.7", {"arbd": versions[build.python]}))


def measured(
    monkeypatch: pytest.MonkeyPatch, blocks: int, rate: Rate, *, failed: int = 0
) -> tuple[Against, ArbdError | KeyboardInterrupt | None, list[float], list[str]]:
    expected: list[float] = []
    told: list[str] = []

    async def measure(spec: LoadSpec, point: Point, guess: float) -> Sample:
        expected.append(guess)
        return sample(rate(spec), failed=failed)

    monkeypatch.setattr(module, "measure", measure)
    found = Against(request(blocks), OTHER, {})
    found._bench.own = OWN
    return found, found.run(told.append), expected, told


def is_other(spec: LoadSpec) -> bool:
    return spec.python == OTHER.python


def test_every_block_has_two_runs_of_each_and_the_verdict_is_about_this_build(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = fewest_blocks()
    found, failure, _, told = measured(monkeypatch, blocks, lambda spec: 200.0 if is_other(spec) else 100.0)
    record = found.record()
    assert failure is None
    assert [sorted(block.order) for block in record.blocks] == [["here", "here", "there", "there"]] * blocks
    assert (told.count("this build"), told.count("the other build")) == (2 * blocks, 2 * blocks)
    assert (record.is_slower, record.complete) == (True, True)
    assert record.rows[0].ratio == pytest.approx(0.5)
    assert {side: facts.packages["arbd"] for side, facts in record.builds.items()} == {"here": "1.1", "there": "1.0"}


def test_each_build_is_expected_to_do_what_it_did_last(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, expected, _ = measured(monkeypatch, 3, lambda spec: 200.0 if is_other(spec) else 100.0)
    assert set(expected[2:]) <= {100.0, 200.0}


def test_a_build_whose_daemon_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(spec: LoadSpec) -> float:
        if is_other(spec):
            raise DaemonError("the daemon ended with exit code 70")
        return 100.0

    found, failure, *_ = measured(monkeypatch, 2, rate)
    assert isinstance(failure, BuildError)
    assert str(failure) == "the other build: the daemon ended with exit code 70"
    assert (found.record().blocks, found.record().rows, found.record().complete) == ([], [], False)


def test_tasks_that_mostly_fail_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, failure, *_ = measured(monkeypatch, 2, lambda _: 100.0, failed=900)
    assert failure is not None
    assert "900 tasks failed; the first: error: no" in str(failure)


def test_an_interrupt_keeps_the_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter(range(100))

    def rate(spec: LoadSpec) -> float:
        if next(runs) == 6:
            raise KeyboardInterrupt
        return 100.0

    found, failure, *_ = measured(monkeypatch, 5, rate)
    assert isinstance(failure, KeyboardInterrupt)
    assert (len(found.record().blocks), found.record().can_tell) == (1, False)


def test_a_record_names_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found, *_ = measured(monkeypatch, 1, lambda _: 100.0)
    written = module.encode(found.record()).decode()
    assert OTHER.python not in written
    assert str(Path(sys.executable).parent) not in written
