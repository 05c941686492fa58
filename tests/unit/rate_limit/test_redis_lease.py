"""What a lease asks of Redis and when, what it lets start, and what holds while nobody answers."""

from __future__ import annotations

from typing import Final

import pytest

from arbd.model.limit_spec import OnBackendError
from arbd.rate_limit.algorithms.base import NEVER_NS, UNBOUNDED
from arbd.rate_limit.storage.redis_lease import RedisLease
from arbd.rate_limit.storage.redis_script import LEASE_NS, MARGIN_NS, LeaseReply, LeaseRequest

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
NOW: Final = 100 * SECOND


class Wakes:
    """A talker that counts."""

    def __init__(self) -> None:
        self.woken = self.closed = 0

    def wake(self) -> None:
        self.woken += 1

    def close(self) -> None:
        self.closed += 1


def a_lease(on_error: OnBackendError = "local", calls: int = 100, talker: Wakes | None = None) -> RedisLease:
    return RedisLease(calls, SECOND, on_error, "me", talker)


def a_reply(granted: int, wait_us: int = 0, **more: int) -> LeaseReply:
    values = {"now": 1, "taken": granted, "members": 1, "settling_us": 0, **more}
    return LeaseReply("epoch", granted=granted, wait_us=wait_us, **values)


def ask(lease: RedisLease, need: int, outstanding: int = 0, now_ns: int = NOW) -> LeaseRequest:
    """Somebody wants ``need`` starts; what is said to Redis for that."""
    lease.refill(now_ns, need)
    lease.settle(now_ns, outstanding)
    return lease.plan(now_ns)


def leased(granted: int = 5, **more: int) -> RedisLease:
    """A lease that has just been granted so many."""
    lease = a_lease()
    ask(lease, granted)
    lease.receive(a_reply(granted, **more), NOW, NOW)
    return lease


def test_it_introduces_itself_at_once_so_that_trouble_shows_at_the_start() -> None:
    lease = a_lease()
    assert lease.due_at() == 0
    request = lease.plan(NOW)
    assert (request.want, request.granted, request.epoch) == (0, 0, "")
    lease.receive(a_reply(0), NOW, NOW)
    assert lease.due_at() is None


def test_who_wants_a_start_waits_for_the_answer_and_gets_it() -> None:
    wakes = Wakes()
    lease = a_lease(talker=wakes)
    assert lease.available(NOW, 0) == 0
    assert ask(lease, 3).want == 3
    assert lease.undecided
    assert wakes.woken == 1
    lease.receive(a_reply(3), NOW, NOW + MS)
    assert lease.available(NOW + MS, 0) == 3
    assert lease.available(NOW + MS, 2) == 1


def test_what_is_granted_ends_before_the_lease_does_counted_from_the_question() -> None:
    lease = a_lease()
    ask(lease, 3)
    lease.receive(a_reply(3), NOW, NOW + SECOND)
    end = NOW + LEASE_NS - MARGIN_NS
    assert (lease.available(end - 1, 0), lease.available(end, 0)) == (3, 0)
    assert lease.usable_until(NOW, 3) == end


def test_a_refusal_says_when_and_nobody_asks_before() -> None:
    lease = a_lease()
    ask(lease, 1)
    lease.receive(a_reply(0, wait_us=250_000), NOW, NOW + MS)
    lease.refill(NOW + 2 * MS, 1)
    assert not lease.undecided
    assert lease.next_at(NOW + 2 * MS, 0) == NOW + MS + 250 * MS
    lease.settle(NOW + 2 * MS, 0)
    assert lease.due_at() is None
    assert ask(lease, 1, now_ns=NOW + 251 * MS).want == 1


def test_what_others_hold_is_asked_for_again_soon() -> None:
    lease = a_lease()
    ask(lease, 1)
    lease.receive(a_reply(0, wait_us=-1), NOW, NOW)
    assert 0 < lease.next_at(NOW, 0) - NOW <= 20 * MS


def test_who_runs_dry_again_at_once_gets_twice_as_many_up_to_a_batch() -> None:
    lease = a_lease(calls=4000)
    wants = []
    granted = 0
    for i in range(7):
        request = ask(lease, 1, now_ns=NOW + i * MS)
        wants.append(request.want)
        granted += request.want
        lease.receive(a_reply(granted), NOW + i * MS, NOW + i * MS)
        lease.spend(NOW + i * MS, request.want)
    assert wants == [1, 2, 4, 8, 16, 20, 20]
    assert ask(lease, 1, now_ns=NOW + SECOND).want == 1


def test_starts_are_reported_with_their_dates_until_redis_has_heard() -> None:
    lease = leased(5)
    lease.spend(NOW + 1 * MS, 1)
    lease.spend(NOW + 50 * MS, 2)
    request = lease.plan(NOW + 60 * MS)
    assert request.starts == [(NOW + 1 * MS, 1), (NOW + 50 * MS, 2)]
    assert (request.started, request.granted) == (3, 5)
    lease.spend(NOW + 51 * MS, 1)  # while the request is under way
    lease.receive(a_reply(5), NOW + 60 * MS, NOW + 61 * MS)
    assert lease.plan(NOW + 62 * MS).starts == [(NOW + 51 * MS, 1)]


def test_a_report_that_may_not_have_arrived_is_made_again_with_the_same_counters() -> None:
    lease = leased(5)
    lease.spend(NOW + MS, 2)
    first = lease.plan(NOW + 2 * MS)
    lease.fail(NOW + 3 * MS)
    assert lease.plan(NOW + 4 * MS) == first


def test_starts_close_to_each_other_are_reported_as_one_dated_at_the_last() -> None:
    lease = leased(5)
    lease.spend(NOW + MS, 1)
    lease.spend(NOW + 2 * MS, 1)
    lease.spend(NOW + 9 * MS, 1)
    assert lease.plan(NOW + 10 * MS).starts == [(NOW + 2 * MS, 2), (NOW + 9 * MS, 1)]


def test_an_age_is_rounded_so_that_the_start_is_dated_later() -> None:
    lease = leased(5)
    lease.spend(NOW + 1, 1)
    arguments = lease.plan(NOW + MS).arguments(NOW + MS)
    assert arguments[-2:] == [999, 1]


def test_the_rest_goes_back_when_nobody_wants_it() -> None:
    lease = leased(5)
    lease.spend(NOW + MS, 1)
    lease.settle(NOW + MS, 2)  # workers hold two
    assert lease.due_at() == NOW + 21 * MS
    assert lease.plan(NOW + 20 * MS).returned == 0
    lease.receive(a_reply(5), NOW + 20 * MS, NOW + 20 * MS)
    assert lease.plan(NOW + 21 * MS).returned == 2
    lease.receive(a_reply(5), NOW + 21 * MS, NOW + 21 * MS)
    assert lease.available(NOW + 21 * MS, 2) == 0


def test_who_leaves_gives_everything_back() -> None:
    lease = leased(5)
    assert lease.plan(NOW, leaving=True).returned == 5


def test_while_workers_hold_starts_the_lease_goes_on() -> None:
    lease = leased(2)
    lease.settle(NOW, 2)
    assert lease.due_at() == NOW + 125 * MS


def test_an_idle_lease_is_silent() -> None:
    lease = leased(1)
    lease.spend(NOW + MS, 1)
    lease.plan(NOW + 200 * MS)
    lease.receive(a_reply(1), NOW + 200 * MS, NOW + 200 * MS)
    assert lease.due_at() is None


def test_a_lease_that_ended_is_a_new_session_and_reports_what_was_not_heard() -> None:
    lease = leased(5)
    lease.spend(NOW + LEASE_NS - MARGIN_NS - MS, 2)
    request = lease.plan(NOW + LEASE_NS)
    assert (request.session, request.granted, request.started, request.returned) == (2, 0, 2, 0)


def test_a_session_that_redis_does_not_know_begins_anew() -> None:
    lease = leased(5)
    lease.spend(NOW + MS, 1)
    lease.plan(NOW + 2 * MS)
    lease.receive(a_reply(-1), NOW + 2 * MS, NOW + 3 * MS)
    assert lease.available(NOW + 3 * MS, 0) == 0
    assert lease.due_at() == 0
    request = lease.plan(NOW + 4 * MS)
    assert (request.session, request.started, request.starts) == (2, 1, [(NOW + MS, 1)])


def test_what_workers_hold_of_a_lost_lease_is_void_until_it_is_on_lease_again() -> None:
    lease = leased(5)
    end = NOW + LEASE_NS
    lease.settle(NOW, 3)
    assert lease.usable_until(NOW, 3) == end - MARGIN_NS
    ask(lease, 1, outstanding=3, now_ns=end)  # a new session
    assert lease.usable_until(end, 3) == 0
    lease.receive(a_reply(0, wait_us=-1), end, end)
    assert lease.usable_until(end, 3) == 0
    request = ask(lease, 1, outstanding=3, now_ns=end + 20 * MS)
    assert request.want == 3 + 1
    lease.receive(a_reply(4), end + 20 * MS, end + 21 * MS)
    assert lease.usable_until(end, 3) == end + 20 * MS + LEASE_NS - MARGIN_NS
    assert lease.available(end + 21 * MS, 3) == 1


def test_nobody_who_was_away_for_a_window_and_a_lease_knows_what_should_be_there() -> None:
    lease = leased(0)
    assert lease.plan(NOW + SECOND).epoch == "epoch"
    assert lease.plan(NOW + SECOND + LEASE_NS).epoch == ""


# -- without Redis -------------------------------------------------------------------------------------------------


def away(on_error: OnBackendError, members: int = 4) -> RedisLease:
    """Redis was there, with so many members, and now is not."""
    lease = a_lease(on_error)
    lease.plan(NOW)
    lease.receive(a_reply(0, members=members), NOW, NOW)
    ask(lease, 1)
    lease.fail(NOW)
    return lease


def test_closed_means_that_nothing_starts_before_redis_is_tried_again() -> None:
    lease = away("closed")
    assert lease.available(NOW, 0) == 0
    assert lease.due_at() == lease.next_at(NOW, 0) == NOW + 100 * MS
    lease.refill(NOW, 1)
    assert not lease.undecided


def test_open_means_that_nothing_is_limited() -> None:
    assert away("open").available(NOW, 0) == UNBOUNDED


def test_local_means_a_fair_share_over_the_same_window() -> None:
    lease = away("local")
    assert lease.available(NOW, 0) == 25
    lease.spend(NOW, 20)
    assert lease.available(NOW, 0) == 5
    assert lease.available(NOW, 5) == 0
    assert lease.next_at(NOW, 5) == NOW + SECOND
    lease.forget(NOW + SECOND)
    assert lease.available(NOW + SECOND, 0) == 25


def test_a_share_is_at_least_one_start() -> None:
    assert away("local", members=1000).available(NOW, 0) == 1


def test_what_was_started_before_redis_went_away_counts_in_the_share() -> None:
    lease = a_lease("local")
    ask(lease, 30)
    lease.receive(a_reply(30, members=4), NOW, NOW)
    lease.spend(NOW, 30)
    lease.plan(NOW + MS)
    lease.fail(NOW + MS)
    assert lease.available(NOW + MS, 0) == 0


@pytest.mark.parametrize("on_error", ["closed", "local"])
def test_what_is_on_lease_stays_usable_until_it_ends(on_error: OnBackendError) -> None:
    lease = a_lease(on_error, calls=4)
    ask(lease, 3)
    lease.receive(a_reply(3, members=4), NOW, NOW)
    lease.plan(NOW)
    lease.fail(NOW)
    assert lease.available(NOW, 0) == 3
    assert lease.available(NOW + LEASE_NS, 0) == (1 if on_error == "local" else 0)


def test_what_workers_hold_has_no_end_while_nothing_but_this_host_counts() -> None:
    assert away("local").usable_until(NOW, 1) == NEVER_NS
    assert away("closed").usable_until(NOW, 1) == 0


def test_it_tries_again_at_growing_intervals_and_heals() -> None:
    lease = away("closed")
    now_ns, pauses = NOW, []
    for _ in range(7):
        due_ns = lease.due_at()
        assert due_ns is not None
        pauses.append((due_ns - now_ns) // MS)
        now_ns = due_ns
        lease.plan(now_ns)
        lease.fail(now_ns)
    assert pauses == [100, 200, 400, 800, 1600, 2000, 2000]
    lease.plan(now_ns)
    lease.receive(a_reply(0), now_ns, now_ns)
    assert not lease.is_alone(now_ns)
    lease.plan(now_ns)
    lease.fail(now_ns)
    assert lease.due_at() == now_ns + 100 * MS


def test_starts_made_without_redis_are_reported_when_it_is_back() -> None:
    lease = away("open")
    lease.spend(NOW + 100 * MS, 7)
    lease.spend(NOW + 900 * MS, 2)
    request = lease.plan(NOW + 1200 * MS)
    assert request.starts == [(NOW + 900 * MS, 2)]  # the others left the window
    assert request.started == 9


def test_a_server_that_lost_its_memory_is_as_good_as_away_until_it_has_settled() -> None:
    lease = a_lease("local")
    ask(lease, 1)
    lease.receive(a_reply(0, members=2, settling_us=400_000), NOW, NOW)
    assert lease.is_alone(NOW)
    assert lease.due_at() == NOW + 400 * MS
    assert lease.available(NOW, 0) == 50
    assert lease.available(NOW + 400 * MS, 0) == 0
    lease.refill(NOW + 400 * MS, 1)
    assert lease.undecided


# -- what others are told ------------------------------------------------------------------------------------------


def test_hold_fetches_a_task_from_the_hub_although_nothing_is_leased_yet() -> None:
    lease = a_lease(calls=1000)
    assert lease.startable(NOW, 0) == 5
    ask(lease, 1)
    lease.receive(a_reply(0, wait_us=500_000), NOW, NOW)
    assert lease.startable(NOW, 2) == 2
    assert away("local").startable(NOW, 2) == 25


def test_usage_is_what_redis_said_and_old_news_is_none() -> None:
    lease = leased(5, taken=60)
    assert lease.usage(NOW) == 0.6
    assert lease.usage(NOW + 2 * SECOND) == 0.0
    lonely = away("local")
    lonely.spend(NOW, 20)
    assert lonely.usage(NOW) == 0.2


def test_closing_it_ends_the_talk() -> None:
    wakes = Wakes()
    a_lease(talker=wakes).close()
    a_lease().close()
    assert wakes.closed == 1
