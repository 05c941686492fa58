"""An author's own metrics: counters, gauges and histograms that actions update, summed over all workers::

    from arbd.metrics import Counter, Histogram

    ORDERS = Counter("orders", "Orders taken.", ["currency"])
    PRICING = Histogram("pricing_seconds", "How long pricing takes.")

    @provider.actions.register(name="order")
    def order(payload):
        with PRICING.time():
            ...
        ORDERS.labels(payload["currency"]).inc()

    registry ── what there is, in which memory, how much of it
    instruments ── what an author has in hand: Counter, Gauge, Histogram
    around ── what is updated around a block, a function, a coroutine: ``time()`` and its like

Each worker counts into a page of its own (``arbd.ipc.author_page``), without a lock and without a system call; what
reads the pages is ``arbd.control.author_metrics``. Not a client of Prometheus: nothing here serves or pushes anything.
Outside a worker, as in a test, everything counts in this process.
"""

from __future__ import annotations

from arbd.metrics.instruments import Counter as Counter
from arbd.metrics.instruments import Gauge as Gauge
from arbd.metrics.instruments import Histogram as Histogram
