"""A back-off doubles its pauses up to a ceiling, and begins again after a success."""

from __future__ import annotations

from arbd.core.backoff import RETRY_MAX_S, Backoff, Retry


def test_pauses_double_up_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(0.01, 0.05, jitter=float)
    assert [backoff.next_s() for _ in range(5)] == [0.01, 0.02, 0.04, 0.05, 0.05]
    backoff.reset()
    assert backoff.next_s() == 0.01


def test_by_default_a_pause_is_a_random_share() -> None:
    backoff = Backoff(1.0, 8.0)
    assert all(0 <= backoff.next_s() <= longest for longest in (1.0, 2.0, 4.0, 8.0, 8.0))


def test_a_pause_goes_through_the_jitter() -> None:
    shares = iter([0.0, 0.5, 0.25])
    backoff = Backoff(1.0, 8.0, jitter=lambda pause_s: pause_s * next(shares))
    assert [backoff.next_s() for _ in range(3)] == [0.0, 1.0, 1.0]


def test_it_never_overflows() -> None:
    backoff = Backoff(0.01, 1.0, jitter=float)
    assert [backoff.next_s() for _ in range(5000)][-1] == 1.0


def test_what_failed_is_put_off_longer_each_time_until_it_works() -> None:
    retry = Retry()
    assert retry.until_ns == 0
    assert [retry.failed(1_000) - 1_000 for _ in range(3)] == [50_000_000, 100_000_000, 200_000_000]
    assert [retry.failed(0) for _ in range(10)][-1] == retry.until_ns == RETRY_MAX_S * 1e9
    retry.worked()
    assert (retry.until_ns, retry.failed(0)) == (0, 50_000_000)
