"""One line of a key and some seconds, a few in all within a second; what is left out is counted, and nothing grows."""

from __future__ import annotations

from arbd.logs.seldom import Seldom


def test_one_of_a_key_and_some_seconds() -> None:
    seldom = Seldom(10.0, 4)
    assert seldom.is_due("a", 100.0)
    assert seldom.write("a", 100.0) == 0
    assert not seldom.is_due("a", 109.9)
    assert seldom.is_due("b", 109.9)
    for _ in range(3):
        seldom.leave_out("a")
    assert seldom.is_due("a", 110.0)
    assert seldom.write("a", 110.0) == 3
    assert seldom.write("a", 120.0) == 0


def test_a_few_of_all_keys_within_a_second() -> None:
    seldom = Seldom(10.0, 2)
    assert [seldom.is_due(key, 100.0) and seldom.write(key, 100.0) for key in "abcd"] == [0, 0, False, False]
    assert not seldom.is_due("c", 100.9)
    assert seldom.is_due("c", 101.0)


def test_it_remembers_so_many_keys_and_no_more() -> None:
    seldom = Seldom(10.0, 10**6)
    for key in range(3000):
        seldom.write(key, 100.0)
        seldom.leave_out(-key)
    assert len(seldom._last) == len(seldom._left_out) == 1024
    assert seldom.is_due(0, 100.0)
    assert not seldom.is_due(2999, 100.0)
