"""The report says what was measured: rates, percentiles, the scaled single process, every failure and difference."""

from __future__ import annotations

from datetime import date
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from arbd.examples.demo.jobs import DemoJob, Portfolio
from arbd.examples.demo.report import JobResult, Report, SampledCall, choose_sample, make_report
from arbd.examples.demo.screen import print_report
from arbd.tuning.meter import Load, WorkerLoad, others_share, percentile

PORTFOLIOS = [
    Portfolio(base="EUR", shares=[("USD", 0.8), ("JPY", 0.4), ("CHF", -0.2)], positions=[]),
    Portfolio(base="GBP", shares=[("SEK", 1.0)], positions=[]),
]
HISTORICAL = {
    "value": 1_234_000.0,
    "var": 50_000.0,
    "expected_shortfall": 61_000.0,
    "as_of": "2026-10-30",
    "worst": {"loss": 99_000.0, "from": "2008-10-01", "to": "2008-10-15"},
}
MONTE_CARLO = {"value": 1_234_000.0, "var": 48_000.0, "expected_shortfall": 59_000.0, "as_of": "2026-10-30"}
LOAD = Load(
    workers=[
        WorkerLoad(name="arbd:worker-0", pid=11, cpus=(0,), busy=0.97, cpu_busy=0.99),
        WorkerLoad(name="arbd:worker-1", pid=12, cpus=(), busy=0.5, cpu_busy=None),
    ],
    supervisor_busy=0.04,
    cpus_busy=[0.99, 0.6],
)


def job(portfolio: int, action: str) -> DemoJob:
    return DemoJob(portfolio=portfolio, action=action, payload={})


def answer(portfolio: int, action: str, data: dict[str, Any], latency_s: float = 0.02) -> JobResult:
    return JobResult(job=job(portfolio, action), response={"status": "success", "data": data}, latency_s=latency_s)


def report_of(answers: list[JobResult], samples: list[SampledCall]) -> Report:
    return make_report(PORTFOLIOS, answers, samples, ready_s=0.5, elapsed_s=2.0, load=LOAD)


@pytest.fixture
def report() -> Report:
    answers = [
        answer(0, "historical_var", HISTORICAL, 0.004),
        answer(0, "monte_carlo_var", MONTE_CARLO, 0.100),
        answer(1, "historical_var", HISTORICAL, 0.006),
        answer(1, "monte_carlo_var", MONTE_CARLO, 0.200),
    ]
    samples = [
        SampledCall(job=job(0, "historical_var"), data=HISTORICAL, seconds=0.25),
        SampledCall(job=job(0, "monte_carlo_var"), data=MONTE_CARLO, seconds=1.0),
        SampledCall(job=job(1, "monte_carlo_var"), data=MONTE_CARLO, seconds=2.0),
    ]
    return report_of(answers, samples)


def test_rates_and_percentiles(report: Report) -> None:
    assert (report.tasks, report.succeeded, report.failures) == (4, 4, [])
    assert report.tasks_per_s == 2.0
    assert (report.latency_p50_ms, report.latency_p99_ms) == (6.0, 200.0)


def test_one_process_is_scaled_by_action(report: Report) -> None:
    # Two historical jobs of 0.25 s and two Monte Carlo jobs of 1.5 s on average, in 2 s.
    assert report.one_process_s == 3.5
    assert report.speed_up == 1.75


def test_assessments_join_both_methods(report: Report) -> None:
    assert [(each.historical, each.monte_carlo) for each in report.assessments] == [(HISTORICAL, MONTE_CARLO)] * 2


def test_failures_are_counted_by_message_and_leave_a_hole() -> None:
    failed = {"status": "error", "message": "Unknown currency 'XXX'"}
    answers = [
        JobResult(job=job(0, "historical_var"), response=failed, latency_s=0.1),
        JobResult(job=job(1, "historical_var"), response=failed, latency_s=0.1),
        JobResult(job=job(1, "monte_carlo_var"), response={"status": "limit"}, latency_s=0.1),
    ]
    samples = [
        SampledCall(job=job(0, action), data={}, seconds=0.1) for action in ("historical_var", "monte_carlo_var")
    ]
    report = report_of(answers, samples)
    assert report.succeeded == 0
    assert report.failures == ["2 of historical_var: Unknown currency 'XXX'", "1 of monte_carlo_var: limit"]
    assert [each.historical for each in report.assessments] == [None, None]


def test_a_result_that_differs_in_one_digit_is_counted() -> None:
    answers = [answer(0, "historical_var", HISTORICAL), answer(1, "historical_var", HISTORICAL)]
    samples = [
        # A date here is the text it becomes in JSON: no difference.
        SampledCall(job=job(0, "historical_var"), data=HISTORICAL | {"as_of": date(2026, 10, 30)}, seconds=0.1),
        SampledCall(job=job(1, "historical_var"), data=HISTORICAL | {"var": 50_000.000000000007}, seconds=0.1),
    ]
    assert report_of(answers, samples).sample_mismatches == 1


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 5.0), (0.51, 6.0), (0.99, 10.0), (1.0, 10.0)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 11)], share) == expected


def test_sample_is_spread_over_all_jobs_of_every_action() -> None:
    jobs = [job(number // 2, ("historical_var", "monte_carlo_var")[number % 2]) for number in range(300)]
    chosen = choose_sample(jobs, 20)
    for action in ("historical_var", "monte_carlo_var"):
        numbers = [each.portfolio for each in chosen if each.action == action]
        assert len(numbers) == 10
        assert (numbers[0], numbers[-1]) == (0, 149)
    assert choose_sample(jobs[:1], 20) == jobs[:1]


def test_report_is_json_as_it_is(report: Report) -> None:
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def printed(report: Report, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width, markup=False)
    print_report(report, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 110])
def test_screen_shows_every_figure(report: Report, width: int) -> None:
    lines = printed(report, width)
    row = next(line for line in lines if line.startswith("80% USD"))
    assert row.split() == ["80%", "USD,", "40%", "JPY,", "+1", "1,234", "EUR", "50", "61", "48", "59", "2008-10"]
    text = " ".join(" ".join(lines).split())
    for phrase in (
        "4 of 4 succeeded in 2.00 s",
        "2.0 tasks/s",
        "p50 6.0 ms, p99 200.0 ms",
        "One process alone would have taken 3.5 s (measured on 3 of the tasks): 1.75 times as long as 2 workers.",
        "All 3 results are equal to the last digit.",
    ):
        assert phrase in text
    assert any(line.split()[:4] == ["arbd:worker-0", "(pid", "11)", "0"] and "97%" in line for line in lines)
    assert any(line.split()[:5] == ["arbd:worker-1", "(pid", "12)", "any", "50%"] for line in lines)
    assert max(map(len, lines)) <= width


def test_screen_does_not_hide_failures_and_differences(report: Report) -> None:
    bad = msgspec.structs.replace(report, failures=["3 of convert: [bold]no[/bold]"], sample_mismatches=2)
    text = "\n".join(printed(bad, 80))
    assert "failed: 3 of convert: [bold]no[/bold]" in text
    assert "2 of these results DIFFER from the daemon's." in text
    assert "equal to the last digit" not in text


def test_it_is_said_when_other_work_had_the_cpus(report: Report) -> None:
    busy = msgspec.structs.replace(report, load=msgspec.structs.replace(report.load, others_busy=0.484))
    assert "Other work had 48% of the CPUs meanwhile" in " ".join(printed(busy, 200))
    calm = msgspec.structs.replace(report, load=msgspec.structs.replace(report.load, others_busy=0.04))
    assert "Other work" not in " ".join(printed(calm, 200))


@pytest.mark.parametrize(
    ("cpus_busy", "usable", "ours", "share"),
    [
        ([1.0, 1.0], [0, 1], 1.0, 0.5),
        ([1.0, 0.0], [0, 1], 1.0, 0.0),
        ([1.0, 1.0, 1.0, 1.0], [2], 0.25, 0.75),
        ([0.5], [0], 0.9, 0.0),  # the kernel counts in ticks
        ([1.0], [0, 7], 0.0, 1.0),  # one that is not counted
        ([], [], 0.0, 0.0),
    ],
)
def test_what_others_had_is_what_is_neither_idle_nor_ours(
    cpus_busy: list[float], usable: list[int], ours: float, share: float
) -> None:
    assert others_share(cpus_busy, usable, ours) == pytest.approx(share)
