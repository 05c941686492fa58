"""Counter, Gauge and Histogram: what an author who knows prometheus_client writes does what is meant."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from metric_support import registry, seen

from arbd.errors import RegistrationError
from arbd.metrics import Counter, Gauge, Histogram
from arbd.metrics.registry import Registry

__all__ = ["registry"]


@pytest.fixture(autouse=True)
def own_registry(registry: Registry) -> Registry:
    return registry


def test_a_counter_grows() -> None:
    orders = Counter("orders_total", "Orders.")
    orders.inc()
    orders.inc(2)
    orders.inc(amount=0.5)
    assert orders.value == 3.5
    assert repr(orders) == "Counter('orders')"  # it is read as orders_total


@pytest.mark.parametrize("amount", [-1, -0.5, float("-inf")])
def test_a_counter_never_falls(amount: float) -> None:
    orders = Counter("orders", "Orders.")
    with pytest.raises(ValueError, match="only grows"):
        orders.inc(amount)
    assert orders.value == 0


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
def test_what_would_spoil_a_sum_is_dropped_and_counted(own_registry: Registry, amount: float, capsys: Any) -> None:
    orders, sizes = Counter("orders", "Orders."), Histogram("sizes", "Sizes.")
    orders.inc(amount)
    sizes.observe(amount)
    assert (orders.value, sizes.sum, sizes.count) == (0, 0, 0)
    told = capsys.readouterr().err
    assert told.count("metric_update_dropped") == 1
    assert "no finite number" in told


@pytest.mark.parametrize("amount", [2, True, Decimal("1.5"), Fraction(1, 2)])
def test_every_kind_of_number_is_one(amount: Any) -> None:
    orders, sizes, held = Counter("orders", ""), Histogram("sizes", ""), Gauge("held", "")
    orders.inc(amount)
    sizes.observe(amount)
    held.set(amount)
    assert orders.value == sizes.sum == held.value == float(amount)


def test_what_is_no_number_is_the_author_s_mistake() -> None:
    orders = Counter("orders", "")
    with pytest.raises((TypeError, ValueError)):
        orders.inc("one")  # type: ignore[arg-type] # what the test is about
    assert orders.value == 0


def test_a_gauge_rises_and_falls() -> None:
    held = Gauge("held", "Held.")
    held.set(5)
    held.inc()
    held.dec(2)
    assert held.value == 4
    held.set_to_current_time()
    assert abs(held.value - time.time()) < 100


def test_a_histogram_counts_by_buckets(own_registry: Registry) -> None:
    sizes = Histogram("sizes", "Sizes.", buckets=[1, 2, float("inf")])
    for size in (0, 1, 1.5, 2, 3):
        sizes.observe(size)
    assert seen(own_registry.words)["sizes",] == [7.5, 2, 2, 1]
    assert (sizes.sum, sizes.count) == (7.5, 5)


def test_labels_give_one_series_each_by_place_or_name() -> None:
    orders = Counter("orders", "Orders.", ["currency", "side"])
    orders.labels("EUR", "buy").inc()
    orders.labels(side="buy", currency="EUR").inc()
    orders.labels("USD", 1).inc()
    assert orders.labels("EUR", "buy").value == 2
    assert orders.labels("USD", "1").value == 1
    assert repr(orders.labels("USD", "1")) == "Counter('orders', currency='USD', side='1')"


@pytest.mark.parametrize(("values", "named"), [(("a",), {}), (("a", "b", "c"), {}), ((), {"x": 1}), (("a",), {"y": 1})])
def test_other_labels_are_refused(values: tuple[str, ...], named: dict[str, Any]) -> None:
    orders = Counter("orders", "Orders.", ["x", "y"])
    with pytest.raises(ValueError, match="labels x, y"):
        orders.labels(*values, **named)


def test_labels_where_there_are_none_and_none_where_there_are() -> None:
    with pytest.raises(ValueError, match="no labels"):
        Counter("plain", "").labels("a")
    orders = Counter("orders", "", ["x"])
    with pytest.raises(ValueError, match=r"\.labels\(x=\.\.\.\)"):
        orders.inc()
    with pytest.raises(ValueError, match="no labels"):
        orders.labels("a").labels("b")


def test_a_label_that_is_no_text_of_utf8_is_written_all_the_same(own_registry: Registry) -> None:
    Counter("orders", "", ["x"]).labels("\udc80").inc()
    assert seen(own_registry.words)["orders", "?"] == [1]


def test_names_are_put_together_as_prometheus_client_does() -> None:
    assert repr(Counter("b", "", namespace="n", subsystem="s", unit="bytes")) == "Counter('n_s_b_bytes')"
    assert repr(Histogram("a_seconds", "", unit="seconds")) == "Histogram('a_seconds')"


# -- around blocks, functions, coroutines ------------------------------------------------------------------------------


def test_time_of_a_block_a_function_and_a_coroutine() -> None:
    took = Histogram("took_seconds", "")

    @took.time()
    def function(number: int) -> int:
        """Its own."""
        return number if number == 0 else function(number - 1)

    @took.time()
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return "done"

    with took.time():
        pass
    assert function(2) == 0
    assert function.__doc__ == "Its own."
    assert asyncio.iscoroutinefunction(coroutine)
    assert asyncio.run(coroutine()) == "done"
    assert took.count == 1 + 3 + 1
    assert took.sum >= 0


def test_what_raises_is_timed_too_and_passes() -> None:
    took, failed, busy = Gauge("took", ""), Counter("failed", ""), Gauge("busy", "")
    took.set(-1)
    for kind in (KeyError, ValueError):

        @took.time()
        @failed.count_exceptions(LookupError)
        @failed.count_exceptions()
        @busy.track_inprogress()
        def fails(kind: type[Exception] = kind) -> None:
            assert busy.value == 1
            raise kind

        with pytest.raises(kind):
            fails()
    assert took.value >= 0
    assert (failed.value, busy.value) == (3, 0)


# -- definitions -------------------------------------------------------------------------------------------------------


def test_the_same_definition_again_is_the_same_metric() -> None:
    """A module may be imported under two names: as __main__, and by its own."""
    first, second = (Counter("orders", "Orders.", ("x",)) for _ in range(2))
    assert first is second


@pytest.mark.parametrize(
    "other",
    [
        lambda: Gauge("orders", "Orders."),
        lambda: Counter("orders", "Orders.", ["y"]),
        lambda: Counter("orders", "Others.", ["x"]),
        lambda: Gauge("orders_total", "What the counter is read as."),
        lambda: Histogram("orders", "Orders."),
    ],
)
def test_the_same_name_for_another_metric_is_refused_with_both_places(other: Any) -> None:
    Counter("orders", "Orders.", ["x"])
    with pytest.raises(RegistrationError) as refused:
        other()
    assert str(refused.value).count(__file__) == 2


def test_two_metrics_whose_lines_would_meet_are_refused() -> None:
    Gauge("sizes_sum", "")
    with pytest.raises(RegistrationError, match="sizes_sum"):
        Histogram("sizes", "")


def test_all_that_is_wrong_is_said_with_the_place() -> None:
    with pytest.raises(RegistrationError) as refused:
        Gauge("9", "", "label", over_workers="mean")  # type: ignore[arg-type] # what the test is about
    for word in (__file__, "name: '9'", "labelnames", "over_workers: 'mean'"):
        assert word in str(refused.value)


@pytest.mark.parametrize("buckets", [5, None, [], ["a"], [2, 1], [10**400]])
def test_buckets_that_cannot_be(buckets: Any) -> None:
    with pytest.raises(RegistrationError, match="buckets"):
        Histogram("sizes", "", buckets=buckets)


def test_a_documentation_that_cannot_be_written_is_made_so() -> None:
    Counter("orders", "\udc80").inc()


def test_a_metric_goes_to_no_other_process() -> None:
    orders = Counter("orders", "")
    for send in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be sent"):
            send(orders)
