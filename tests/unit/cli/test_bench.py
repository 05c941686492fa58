"""``arbd bench`` refuses what cannot work before it measures anything, and its exit code says how it ended."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_support import invoke
from click.testing import Result

from arbd.errors import ArbdError
from arbd.model.description import ActionInfo, Description
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.supervisor import describe as describing
from arbd.tuning import bench as tuning_bench
from arbd.tuning import own
from arbd.tuning import plot as tuning_plot
from arbd.tuning.machine import facts
from arbd.tuning.own import Workload
from arbd.tuning.record import Measurement, OwnTime, Point, Record, Sample, Setup, decode, encode

BASE = Point(workers=2, pin=True, prefetch=256, protocol="stream")
TOTAL = ActionInfo("total", "", 0.5, {}, None, "total(n)", False)


def sample(rate: float, failed: int = 0) -> Sample:
    return Sample(1000, 1000 / rate, 8e-6, 6e-6, 0.5, 5e-4, 1e-3, 5e-3, 1e-2, failed, "error: no" if failed else "")


class StandIn:
    """In place of the real benchmark: what it was asked for, and what it is to find."""

    def __init__(self) -> None:
        self.requests: list[tuning_bench.BenchRequest] = []
        self.rates = [100.0, 101.0, 102.0, 103.0, 104.0]
        self.failed = 0
        self.failure: ArbdError | KeyboardInterrupt | None = None
        self.own_fails: Exception | None = None
        self.most_runs = 5
        self.estimate_s = 20.0

    def __call__(self, request: tuning_bench.BenchRequest, environ: dict[str, str]) -> StandIn:
        self.requests.append(request)
        self._record = tuning_bench_record(request, [sample(rate, self.failed) for rate in self.rates])
        return self

    def measure_own(self) -> None:
        if self.own_fails is not None:
            raise self.own_fails

    def sweep(self, before: Callable[[Point], None]) -> ArbdError | KeyboardInterrupt | None:
        before(BASE)
        return self.failure

    def record(self) -> Record:
        return self._record


def tuning_bench_record(request: tuning_bench.BenchRequest, samples: list[Sample]) -> Record:
    load = request.workload
    return Record(
        created_at="2026-11-21T07:00:00+00:00",
        machine=facts(),
        setup=Setup(load.target, load.action, len(load.payload), "", request.duration_s, request.repeats),
        own=OwnTime(10, 0.001, 0.001, 0.001),
        baseline=BASE,
        measurements=[Measurement(BASE, samples)] if samples else [],
    )


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    monkeypatch.chdir(tmp_path)
    description = Description(given={"name": "prices", "execution_timeout": 2}, actions=[TOTAL])
    monkeypatch.setattr(describing, "describe", lambda target, argv, environ: description)
    found = StandIn()
    monkeypatch.setattr(tuning_bench, "Bench", found)
    return found


def bench(*arguments: str, stdin: str | None = None) -> Result:
    return invoke("bench", "prices.py", "total", *arguments, stdin=stdin)


def test_target_action_and_payload_are_what_is_measured(stand_in: StandIn) -> None:
    result = bench("--payload", '{"n": 1}', "--account", '{"key": "x"}')
    (request,) = stand_in.requests
    assert result.exit_code == 0
    assert request.workload == Workload("prices.py", "total", b'{"n": 1}', b'{"key": "x"}')
    assert request.timeout_s == 0.5
    assert (request.duration_s, request.repeats, request.full, request.asked) == (2.0, 7, False, {})


def test_a_payload_may_come_from_a_file_or_from_stdin(stand_in: StandIn) -> None:
    Path("order.json").write_text('{"n": 2}')
    bench("--payload", "@order.json")
    bench("--payload", "-", stdin='{"n": 3}')
    assert [request.workload.payload for request in stand_in.requests] == [b'{"n": 2}', b'{"n": 3}']


def test_lists_choose_what_is_tried(stand_in: StandIn) -> None:
    bench("--workers", "1, 8", "--pin", "on,off", "--prefetch", "16", "--protocol", "unary", "--full", "--repeat", "7")
    (request,) = stand_in.requests
    assert request.asked == {"workers": [1, 8], "pin": [True, False], "prefetch": [16], "protocol": ["unary"]}
    assert (request.full, request.repeats) == (True, 7)


def test_quick_is_short_and_once(stand_in: StandIn) -> None:
    bench("--quick")
    (request,) = stand_in.requests
    assert (request.duration_s, request.repeats, request.only_protocols) == (0.2, 1, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--payload", "{"], "not JSON"),
        (["--payload", "@nowhere.json"], f"nowhere.json: {os.strerror(errno.ENOENT)}"),
        (["--workers", "0"], "whole number from 1 to 1024"),
        (["--workers", "auto"], "whole number from 1 to 1024"),
        (["--pin", "maybe"], "true or false"),
        (["--protocol", "auto"], "one of stream, unary"),
        (["--duration", "0"], "seconds from 0.05"),
        (["--repeat", "26"], "--repeat"),
        (["--out", "nowhere/out.json"], "cannot write into"),
        (["--out", "."], ". is not a file that can be written"),
        (["--plot", "nowhere/base"], "cannot write into"),
        (["--compare", "nowhere.json"], f"nowhere.json: {os.strerror(errno.ENOENT)}"),
        (["--compare", "prices.txt"], "not written by `arbd bench --out`"),
        (["--fail-on-regression"], "needs --compare"),
    ],
)
def test_a_wrong_option_is_found_before_anything_is_measured(
    stand_in: StandIn, arguments: list[str], told: str
) -> None:
    Path("prices.txt").write_text("product;price\n")
    result = bench(*arguments)
    assert (result.exit_code, stand_in.requests) == (2, [])
    assert told in " ".join(result.stderr.split())


def test_an_unknown_action_names_those_that_there_are(stand_in: StandIn) -> None:
    result = invoke("bench", "prices.py", "sum")
    assert (result.exit_code, stand_in.requests) == (2, [])
    assert "no action 'sum'; there are: total" in result.stderr


def test_a_plot_needs_matplotlib(monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> None:
    monkeypatch.setattr(tuning_plot, "find_spec", lambda name: None)
    result = bench("--plot", "base")
    assert (result.exit_code, stand_in.requests) == (78, [])
    assert "pip install 'arbd[plot]'" in result.stderr


def test_the_table_and_the_recommendation_are_printed() -> None:
    result = bench()
    assert result.stderr == "arbd bench: at most 5 runs, about 20 s; Ctrl-C shows what is there\n"
    assert "Leave the settings as they are:" in result.stdout
    assert "prefetch = 256" in result.stdout


def test_json_is_all_there_is_on_stdout() -> None:
    document = json.loads(bench("--json").stdout)
    assert document["record"]["setup"]["action"] == "total"
    assert document["recommendation"]["settings"]["prefetch"] == 256
    assert document["comparison"] is None


def test_out_writes_the_record(stand_in: StandIn) -> None:
    bench("--out", "out.json")
    assert decode(Path("out.json").read_bytes()) == stand_in.record()


def test_an_action_that_fails_by_itself_ends_it(stand_in: StandIn) -> None:
    stand_in.own_fails = own.ActionError("action 'total' fails with this payload: error: no")
    result = bench("--out", "out.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "arbd: action 'total' fails with this payload: error: no\n"
    assert not Path("out.json").exists()


def test_tasks_that_fail_are_told_and_make_it_fail(stand_in: StandIn) -> None:
    stand_in.failed = 2
    result = bench()
    assert result.exit_code == 1
    assert "10 tasks failed with stream, 2 workers, prefetch 256; the first: error: no" in result.stdout


def test_what_was_measured_before_a_failure_is_shown(stand_in: StandIn) -> None:
    stand_in.failure = ArbdError("the daemon ended with exit code 70")
    result = bench()
    assert result.exit_code == 1
    assert "stream" in result.stdout
    assert result.stderr.endswith("arbd: the daemon ended with exit code 70\n")


def test_what_was_measured_before_an_interrupt_is_shown_and_written(stand_in: StandIn) -> None:
    stand_in.failure = KeyboardInterrupt()
    result = bench("--out", "out.json")
    assert result.exit_code == 130
    assert "stream" in result.stdout
    assert "interrupted" in result.stderr
    assert Path("out.json").exists()


class TestCompare:
    def compared(self, stand_in: StandIn, before: list[float], *arguments: str) -> Result:
        bench("--out", "now.json")
        old = msgspec.structs.replace(
            decode(Path("now.json").read_bytes()), measurements=[Measurement(BASE, [sample(rate) for rate in before])]
        )
        Path("old.json").write_bytes(encode(old))
        return bench("--compare", "old.json", *arguments)

    def test_what_got_slower_is_exit_code_3_if_that_was_asked_for(self, stand_in: StandIn) -> None:
        fast = [200.0, 201.0, 202.0, 203.0, 204.0, 205.0, 206.0]
        assert self.compared(stand_in, fast).exit_code == 0
        result = self.compared(stand_in, fast, "--fail-on-regression")
        assert result.exit_code == 3
        assert "SLOWER" in result.stdout
        assert "Slower by more than noise." in result.stdout

    @pytest.mark.parametrize("before", [[100.0, 101.0, 102.0, 103.0, 104.0], [50.0, 51.0, 52.0, 53.0, 54.0, 55.0]])
    def test_what_is_as_fast_or_faster_is_no_failure(self, stand_in: StandIn, before: list[float]) -> None:
        result = self.compared(stand_in, before, "--fail-on-regression")
        assert result.exit_code == 0
        assert "Nothing is slower by more than noise." in result.stdout

    @pytest.mark.parametrize("before", [[200.0] * 3, [100.0]])
    def test_too_few_samples_are_no_good_news(self, stand_in: StandIn, before: list[float]) -> None:
        assert self.compared(stand_in, before).exit_code == 0
        result = self.compared(stand_in, before, "--fail-on-regression")
        assert result.exit_code == 1
        assert "too few samples" in result.stderr
        assert "Nothing is slower" not in result.stdout

    def test_what_is_not_comparable_is_no_good_news(self, stand_in: StandIn) -> None:
        self.compared(stand_in, [200.0] * 7)
        old = decode(Path("old.json").read_bytes())
        Path("old.json").write_bytes(encode(msgspec.structs.replace(old, load_before=99.0)))
        result = bench("--compare", "old.json", "--fail-on-regression")
        assert result.exit_code == 1
        assert "not comparable: another load" in result.stderr
        assert "SLOWER" not in result.stdout
        assert "not comparable" in result.stdout

    def test_json_has_the_comparison(self, stand_in: StandIn) -> None:
        document: dict[str, Any] = json.loads(self.compared(stand_in, [200.0] * 7, "--json").stdout)
        rows = document["comparison"]["rows"]
        assert [(row["quantity"], row["slower"]) for row in rows if row["slower"]] == [("tasks/s", True)]


def test_interrupted_before_the_first_sample_an_earlier_file_stays(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.rates = []
    stand_in.failure = KeyboardInterrupt()
    (tmp_path / "out.json").write_text("earlier")
    assert bench("--out", "out.json").exit_code == 130
    assert (tmp_path / "out.json").read_text() == "earlier"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "1,2"], "one value for --workers"),
        (["--full"], "does not go with --full"),
        (["--plot", "plot"], "does not go with --plot"),
        (["--compare", "old.json"], "does not go with --compare"),
    ],
)
def test_two_builds_run_with_the_same_settings(arguments: list[str], told: str) -> None:
    result = bench("--against", "there", *arguments)
    assert (result.exit_code, told in result.stderr) == (2, True)


def test_what_is_no_build_is_said_before_anything_is_measured(stand_in: StandIn) -> None:
    result = bench("--against", "nowhere")
    assert (result.exit_code, stand_in.requests) == (2, [])
    assert "is no build of arbd" in result.stderr


def test_a_rate_limit_is_said_beforehand(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = LimitSpec("api", "time_based", Rates(max_calls_per_second=2), scope="provider")
    description = Description(given={"name": "prices"}, actions=[TOTAL], limits=[limit])
    monkeypatch.setattr(describing, "describe", lambda target, argv, environ: description)
    assert "a rate limit allows 2 tasks/s" in bench().stderr
