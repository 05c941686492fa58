"""The report of the demo, as values: from jobs, answers and measurements to one ``Report``. Pure.

``arbd demo --json`` prints the Report as it is; ``screen.py`` draws it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from arbd.examples.demo.jobs import DemoJob, Portfolio
from arbd.tuning.meter import Load, percentile


class JobResult(msgspec.Struct, frozen=True):
    """The result of one job. ``latency_s``: from the hub's hand-out to its acceptance of the result."""

    job: DemoJob
    response: dict[str, Any]
    latency_s: float


class SampledCall(msgspec.Struct, frozen=True):
    """A job run in this process, without hub or daemon: its result and how long it took."""

    job: DemoJob
    data: dict[str, Any]
    seconds: float


class Assessment(msgspec.Struct, frozen=True):
    """One portfolio by both methods; None where a method's task did not succeed. Money in ``portfolio.base``."""

    portfolio: Portfolio
    historical: dict[str, Any] | None
    monte_carlo: dict[str, Any] | None


class Report(msgspec.Struct, frozen=True):
    """The outcome of a demo. Times in seconds unless the name says otherwise.

    ``one_process_s`` is the time one process would need for the same jobs, scaled from ``sampled`` calls;
    ``sample_mismatches`` counts sampled calls whose result differs from the daemon's in any digit.
    """

    tasks: int
    succeeded: int
    failures: list[str]
    ready_s: float
    elapsed_s: float
    tasks_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    one_process_s: float
    speed_up: float
    sampled: int
    sample_mismatches: int
    load: Load
    assessments: list[Assessment]


def make_report(
    portfolios: Sequence[Portfolio],
    answers: Sequence[JobResult],
    samples: Sequence[SampledCall],
    *,
    ready_s: float,
    elapsed_s: float,
    load: Load,
) -> Report:
    """The report on these results. ``answers`` has one entry per job, in any order; ``samples`` covers every action."""
    good = {
        (answer.job.portfolio, answer.job.action): answer.response["data"]
        for answer in answers
        if answer.response["status"] == "success"
    }
    latencies_ms = sorted(answer.latency_s * 1e3 for answer in answers)
    one_process_s = _scaled(samples, [answer.job for answer in answers])
    return Report(
        tasks=len(answers),
        succeeded=len(good),
        failures=_failures(answers),
        ready_s=ready_s,
        elapsed_s=elapsed_s,
        tasks_per_s=len(answers) / elapsed_s,
        latency_p50_ms=percentile(latencies_ms, 0.50),
        latency_p99_ms=percentile(latencies_ms, 0.99),
        one_process_s=one_process_s,
        speed_up=one_process_s / elapsed_s,
        sampled=len(samples),
        sample_mismatches=sum(not _same(sample, good) for sample in samples),
        load=load,
        assessments=[
            Assessment(
                portfolio=portfolio,
                historical=good.get((number, "historical_var")),
                monte_carlo=good.get((number, "monte_carlo_var")),
            )
            for number, portfolio in enumerate(portfolios)
        ],
    )


def choose_sample(jobs: Sequence[DemoJob], size: int) -> list[DemoJob]:
    """About ``size`` jobs spread evenly over all of them, with a first and a last of each action among them."""
    chosen = []
    for action in sorted({job.action for job in jobs}):
        same = [job for job in jobs if job.action == action]
        count = min(len(same), max(size * len(same) // len(jobs), 2))
        chosen += [same[round(at * (len(same) - 1) / max(count - 1, 1))] for at in range(count)]
    return chosen


def _scaled(samples: Sequence[SampledCall], jobs: Sequence[DemoJob]) -> float:
    """Each action's mean sampled time, times the number of its jobs."""
    total = 0.0
    for action in {job.action for job in jobs}:
        times = [sample.seconds for sample in samples if sample.job.action == action]
        total += sum(times) / len(times) * sum(job.action == action for job in jobs)
    return total


def _same(sample: SampledCall, good: dict[tuple[int, str], dict[str, Any]]) -> bool:
    # Through JSON, as the daemon's answer came: dates become text, floats keep every digit.
    here = json.loads(msgspec.json.encode(sample.data))
    return bool(here == good.get((sample.job.portfolio, sample.job.action)))


def _failures(answers: Sequence[JobResult]) -> list[str]:
    """One line for each different way to fail, with its number of tasks."""
    counts: dict[str, int] = {}
    for answer in answers:
        if answer.response["status"] != "success":
            line = f"{answer.job.action}: {answer.response.get('message', answer.response['status'])}"
            counts[line] = counts.get(line, 0) + 1
    return [f"{count} of {line}" for line, count in counts.items()]
