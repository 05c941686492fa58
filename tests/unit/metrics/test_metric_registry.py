"""The registry: a process that becomes a worker counts on in the worker's page; a forked child counts nowhere; what
there is no room for is dropped, counted, told once, and never an error."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from metric_support import a_page, registry, seen

from arbd.ipc.author_page import AuthorPageReader
from arbd.metrics import Counter, Gauge, Histogram
from arbd.metrics.registry import Registry

__all__ = ["registry"]

HERE = b"\x01"


def test_what_was_counted_before_the_worker_began_stays_behind_and_gauges_come_along(registry: Registry) -> None:
    orders, sizes, held = Counter("orders", "", ["x"]), Histogram("sizes", "", buckets=[1]), Gauge("held", "")
    orders.labels("a").inc(5)
    sizes.observe(1)
    held.set(3)
    page = a_page()
    registry.move(page, 7, HERE)
    found = seen(page)
    assert (found["orders", "a"], found["sizes",], found["held",][0]) == ([0], [0, 0, 0], 3)
    orders.labels("a").inc()
    orders.labels("b").inc()
    Counter("later", "").inc()
    found = seen(page)
    assert (found["orders", "a"], found["orders", "b"], found["later",]) == ([1], [1], [1])
    assert AuthorPageReader(page).state[0] == 7


def test_it_counts_on_where_another_worker_has_stopped(registry: Registry) -> None:
    page, before = a_page(), Registry(a_page())
    orders = Counter("orders", "", ["x"])
    orders.labels("a").inc()
    registry.move(page, 1, HERE)
    orders.labels("a").inc(5)
    registry.move(a_page(), 2, HERE)
    orders.labels("a").inc(100)
    registry.move(page, 3, HERE)
    assert orders.labels("a").value == 5
    assert before.here[0]


def test_a_forked_child_counts_nowhere(registry: Registry) -> None:
    page, mark = a_page(), bytearray(HERE)
    orders, sizes, held = Counter("orders", "", ["x"]), Histogram("sizes", ""), Gauge("held", "")
    registry.move(page, 1, mark)
    orders.labels("a").inc()
    before = bytes(page.cast("B"))
    mark[0] = 0  # what the kernel does in a child
    orders.labels("a").inc()
    orders.labels("new").inc()
    sizes.observe(1)
    held.set(1)
    registry.drop("orders", "a reason")
    assert bytes(page.cast("B")) == before
    mark[0] = 1
    assert orders.labels("new").value == 0  # the child's is not kept


def test_what_there_is_no_room_for_is_dropped_counted_and_told_once(registry: Registry, capsys: Any) -> None:
    page = a_page(3)
    orders = Counter("orders", "", ["x"])
    registry.move(page, 1, HERE)
    series = [orders.labels(number) for number in range(10)]
    for each in series:
        each.inc()
    assert [each.value for each in series] == [1] * 3 + [0] * 7
    assert AuthorPageReader(page).dropped == 7
    assert len({id(each) for each in series[3:]}) == 1  # no memory for what is not counted
    told = capsys.readouterr().err
    assert told.count("metric_update_dropped") == 1
    assert "metrics.author_series" in told


@pytest.mark.parametrize("limit", [0, 5])
def test_metrics_for_which_there_is_no_room_cost_nobody_an_error(registry: Registry, limit: int) -> None:
    sizes, held = Histogram("sizes", ""), Gauge("held", "")
    sizes.observe(1)
    registry.move(a_page(limit), 1, HERE)
    sizes.observe(1)
    assert sizes.count == 0
    held.inc()
    with sizes.time(), held.track_inprogress():
        pass
    registry.move(a_page(), 1, HERE)
    sizes.observe(1)
    assert sizes.count == 1


def test_threads_lose_no_update(registry: Registry) -> None:
    orders, sizes, busy = Counter("orders", ""), Histogram("sizes", "", buckets=[1]), Gauge("busy", "")
    named = Counter("named", "", ["x"])

    def count() -> None:
        for number in range(5000):
            orders.inc()
            sizes.observe(number % 3)
            busy.inc()
            busy.dec()
            named.labels(number % 50).inc()

    threads = [threading.Thread(target=count) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert (orders.value, sizes.count, busy.value) == (20_000, 20_000, 0)
    assert sum(named.labels(number).value for number in range(50)) == 20_000


def test_what_is_no_page_is_refused_before_anything_changes(registry: Registry) -> None:
    orders = Counter("orders", "")
    with pytest.raises(ValueError, match="no page"):
        registry.move(memoryview(bytearray(4096)).cast("Q"), 1, HERE)
    orders.inc()
    assert orders.value == 1
