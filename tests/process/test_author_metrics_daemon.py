"""An author's metrics in real workers: summed, right to the last update, whoever dies, and never falling."""

from __future__ import annotations

from pathlib import Path

from arbd.testing import running

PROVIDER = Path(__file__).parent / "providers" / "counting.py"


def test_what_workers_count_is_summed_and_survives_each_of_them() -> None:
    with running(PROVIDER, workers=2) as daemon:
        for number in range(20):
            assert daemon.run("count", {"kind": "a", "size": number * 20}).status == "success"
        for action in ("on_loop", "in_threads", "fork"):
            assert daemon.run(action).status == "success"
        assert daemon.metric("tasks_seen_total") == 20 + 1 + 4000 + 1  # nothing of the import, nothing of the child
        assert daemon.metric("kinds_total", kind="child") is None
        assert daemon.metric("kinds_total", kind="start") == 2
        assert daemon.metric("sizes_bytes_bucket", le="1.0") == 1
        assert daemon.metric("sizes_bytes_bucket", le="100.0") == 6
        assert daemon.metric("sizes_bytes_count") == 20
        assert daemon.metric("sizes_bytes_sum") == 20 * sum(range(20))
        assert (daemon.metric("held"), daemon.metric("busy")) == (3, 0)

        for deaths in range(1, 6):
            assert daemon.run("die").error_code == "WORKER_LOST"
            assert daemon.run("count").status == "success"
            assert daemon.metric("tasks_seen_total") == 4022 + 2 * deaths
        assert len(daemon.daemon.pool.author_pages.descriptors) <= 3  # the pages of the dead are taken again
