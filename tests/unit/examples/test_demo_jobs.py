"""The demo's jobs are real, varied, and the same on every machine; every one of them can be computed."""

from __future__ import annotations

import pytest

from arbd.examples import fx_risk
from arbd.examples.demo.jobs import HORIZON_DAYS, METHODS, WINDOW, build_jobs
from arbd.examples.fx_risk import RATES


@pytest.mark.parametrize(("count", "portfolios"), [(1, 1), (2, 1), (7, 4), (300, 150)])
def test_two_jobs_for_each_portfolio_one_by_each_method(count: int, portfolios: int) -> None:
    made, jobs = build_jobs(count, RATES)
    assert len(made) == portfolios
    assert [(job.portfolio, job.action) for job in jobs] == [(n // 2, METHODS[n % 2]) for n in range(count)]


def test_jobs_do_not_depend_on_the_run() -> None:
    assert build_jobs(50, RATES) == build_jobs(50, RATES)


def test_portfolios_differ_and_some_owe_money() -> None:
    portfolios, _ = build_jobs(300, RATES)
    owing = [each for each in portfolios if any(position["amount"] < 0 for position in each.positions)]
    assert 20 < len(owing) < 80
    assert {each.base for each in portfolios} == {"EUR", "USD", "GBP", "CHF"}
    assert {len(each.positions) for each in portfolios} == {3, 4, 5, 6, 7}
    assert len({repr(each.shares) for each in portfolios}) == 150


def test_shares_are_parts_of_the_net_value_largest_first() -> None:
    portfolios, _ = build_jobs(60, RATES)
    for each in portfolios:
        sizes = [abs(share) for _, share in each.shares]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(share for _, share in each.shares) == pytest.approx(1.0)


def test_every_portfolio_has_the_history_it_needs() -> None:
    _, jobs = build_jobs(300, RATES)
    for job in jobs[::10]:
        result = fx_risk.historical_var(job.payload)
        assert (result["scenarios"], result["horizon_days"]) == (WINDOW, HORIZON_DAYS)
        assert 0.0 < result["var"] < result["expected_shortfall"] < result["worst"]["loss"]
        assert 0.9e6 < result["value"] < 26e6
