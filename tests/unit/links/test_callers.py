"""Who may call: one link until the hub has accepted the token, all of them then, and one again once it refuses it. And
free slots are split to the last one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arbd.links.processes.callers import Callers, split, split_anew

INTERVAL_S = 31.0


def callers(*links: int) -> Callers:
    made = Callers(INTERVAL_S)
    for link in links:
        made.came(link)
    return made


def test_the_first_link_alone_calls_until_it_was_answered() -> None:
    links = callers(1, 2, 3)
    assert list(links.callers(0)) == [1]
    links.accepted(1)
    assert list(links.callers(0)) == [1, 2, 3]


def test_nobody_calls_where_there_is_nobody() -> None:
    links = callers()
    assert list(links.callers(0)) == []


def test_the_link_that_was_refused_first_goes_on_alone() -> None:
    links = callers(1, 2, 3)
    links.accepted(1)
    links.refused(2)
    links.refused(3)  # its call was under way
    assert list(links.callers(0)) == [2]
    links.accepted(3)  # a call of before, so it says nothing
    assert list(links.callers(0)) == [2]
    links.accepted(2)
    assert list(links.callers(0)) == [1, 2, 3]


def test_who_follows_a_leader_that_was_refused_waits_for_its_turn() -> None:
    links = callers(1, 2)
    links.refused(1)
    links.gone(1, now=100.0)
    assert list(links.callers(100.0)) == []
    assert list(links.callers(100.0 + INTERVAL_S)) == [2]


def test_also_if_it_comes_later() -> None:
    links = callers(1)
    links.refused(1)
    links.gone(1, now=100.0)
    links.came(2)
    assert list(links.callers(130.0)) == []
    assert list(links.callers(131.0)) == [2]


def test_who_follows_a_leader_that_was_not_answered_calls_at_once() -> None:
    links = callers(1, 2)
    links.gone(1, now=100.0)
    assert list(links.callers(100.0)) == [2]


def test_the_end_of_one_of_many_changes_nothing() -> None:
    links = callers(1, 2)
    links.accepted(1)
    links.gone(1, now=5.0)
    links.came(3)
    assert list(links.callers(5.0)) == [2, 3]


class Refusals(RuleBasedStateMachine):
    """Until the token is accepted at most one link calls; one that waits for its turn gets it."""

    def __init__(self) -> None:
        super().__init__()
        self.callers = Callers(INTERVAL_S)
        self.links: list[int] = []
        self.now = 0.0
        self.next_link = 1

    @rule()
    def came(self) -> None:
        self.links.append(self.next_link)
        self.callers.came(self.next_link)
        self.next_link += 1

    @precondition(lambda self: self.links)
    @rule(pick=st.integers(0))
    def gone(self, pick: int) -> None:
        link = self.links.pop(pick % len(self.links))
        self.callers.gone(link, self.now)

    @precondition(lambda self: self.links)
    @rule(pick=st.integers(0))
    def refused(self, pick: int) -> None:
        self.callers.refused(self.links[pick % len(self.links)])

    @precondition(lambda self: self.links)
    @rule(pick=st.integers(0))
    def accepted(self, pick: int) -> None:
        self.callers.accepted(self.links[pick % len(self.links)])

    @rule(seconds=st.floats(0, 50))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_calls_or_all(self) -> None:
        calling = list(self.callers.callers(self.now))
        if self.callers.token_is_accepted:
            assert calling == self.links
            return
        assert len(calling) <= 1
        assert set(calling) <= set(self.links)
        assert bool(calling) or not self.links or self.callers.callers(self.now + INTERVAL_S)


TestRefusals = Refusals.TestCase


links_with_slots = st.dictionaries(st.integers(), st.integers(-5, 50), max_size=20)


@given(slots=st.integers(0, 300), links=links_with_slots)
def test_slots_are_split_to_the_last_one_and_none_moves(slots: int, links: dict[int, int]) -> None:
    shares = split(slots, links)
    assert list(shares) == list(links)
    if not links:
        return
    assert sum(shares.values()) == slots
    assert min(shares.values()) >= 0
    had = {link: max(0, has) for link, has in links.items()}
    if slots >= sum(had.values()):
        assert all(shares[link] >= had[link] for link in links)
    else:
        assert all(shares[link] <= had[link] for link in links)


@given(slots=st.integers(0, 300), links=links_with_slots)
def test_what_is_gone_is_taken_from_those_that_have_most_one_by_one(slots: int, links: dict[int, int]) -> None:
    expected = {link: max(0, has) for link, has in links.items()}
    while sum(expected.values()) > slots:
        expected[max(expected, key=expected.__getitem__)] -= 1
    if links and sum(expected.values()) == slots:
        assert sorted(split(slots, links).values()) == sorted(expected.values())


@given(slots=st.integers(0, 300), links=st.lists(st.integers(), unique=True, min_size=1, max_size=20))
def test_anew_they_are_split_evenly(slots: int, links: list[int]) -> None:
    shares = split_anew(slots, links)
    assert sum(shares.values()) == slots
    assert max(shares.values()) - min(shares.values()) <= 1


def test_what_is_new_goes_to_those_that_have_least() -> None:
    assert split(5, {1: 2, 2: 0, 3: 2}) == {1: 2, 2: 1, 3: 2}
    assert split(3, {1: 2, 2: 0, 3: 2}) in ({1: 1, 2: 0, 3: 2}, {1: 2, 2: 0, 3: 1})


@given(tasks=st.lists(st.integers(0, 3), max_size=50), slots=st.integers(0, 20))
def test_a_slot_that_is_used_up_changes_the_share_of_its_link_alone(tasks: list[int], slots: int) -> None:
    shares = split_anew(slots, range(4))
    for link in tasks:
        if shares[link]:
            slots -= 1
            left = {**shares, link: shares[link] - 1}
            shares = split(slots, left)
            assert shares == left


def test_another_token_is_tried_at_once() -> None:
    callers = Callers(31.0)
    for number in (1, 2):
        callers.came(number)
    callers.refused(1)
    callers.gone(1, 100.0)
    assert callers.callers(101.0) == ()
    callers.renewed()
    assert callers.callers(101.0) == (2,)
    callers.accepted(2)
    assert callers.token_is_accepted
