"""An author's metrics in real workers: summed, right to the last update, whoever dies, and never falling."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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


def test_a_reload_goes_on_with_what_was_counted_and_scaling_too() -> None:
    with running(PROVIDER, workers=2) as daemon:
        for _ in range(10):
            daemon.run("count")
        pids = daemon.worker_pids
        daemon.reload()
        until = time.monotonic() + 30
        while set(daemon.worker_pids) & set(pids) or len(daemon.worker_pids) != 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert daemon.metric("tasks_seen_total") == 10
        daemon.run("count")
        assert daemon.metric("tasks_seen_total") == 11
        assert daemon.metric("kinds_total", kind="start") == 4
        assert daemon.metric("held") == 3


def test_workers_that_import_the_module_again_count_as_well(tmp_path: Path) -> None:
    """Where it starts a thread, which a fork would lose, they are started by exec."""
    thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (tmp_path / "counting.py").write_text(PROVIDER.read_text() + thread)
    with running(tmp_path / "counting.py", workers=2) as daemon:
        assert daemon.daemon.pool.zygote.description.by_exec
        for _ in range(10):
            assert daemon.run("count").status == "success"
        assert daemon.run("die").error_code == "WORKER_LOST"
        assert daemon.run("count").status == "success"
        assert daemon.metric("tasks_seen_total") == 12
        assert daemon.metric("held") == 3


def test_workers_are_forked_where_the_module_has_metrics() -> None:
    with running(PROVIDER) as daemon:
        description = daemon.daemon.pool.zygote.description
        assert (description.by_exec, description.leftovers) == (False, [])


def check(tmp_path: Path, source: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What `arbd check` says of a provider."""
    file = tmp_path / "provider.py"
    action = "p = Provider('p')\n\n\n@p.actions.register()\ndef act():\n    pass\n"
    file.write_text(
        f"from arbd import Provider\nfrom arbd.metrics import Counter, Gauge, Histogram\n{source}\n{action}"
    )
    command = [sys.executable, "-m", "arbd", "check", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environ})


def test_check_tells_what_is_wrong_with_a_metric(tmp_path: Path) -> None:
    told = check(tmp_path, "Counter('9', '', 'label')")
    assert told.returncode == 78
    assert "provider.py:3" in told.stderr
    assert "name: '9'" in told.stderr
    assert "labelnames" in told.stderr
    told = check(tmp_path, "Counter('a', '')\nGauge('a', '')")
    assert told.returncode == 78
    assert "provider.py:3" in told.stderr
    assert "provider.py:4" in told.stderr


def test_check_tells_that_there_are_more_than_may_be(tmp_path: Path) -> None:
    source = "for n in range(11):\n    Counter(f'c{n}', '')\n"
    told = check(tmp_path, source, ARBD_METRICS_AUTHOR_SERIES="10")
    assert (told.returncode, "metrics.author_series" in told.stdout) == (78, True)
    told = check(tmp_path, source, ARBD_METRICS_AUTHOR_SERIES="11")
    assert told.returncode == 0, told.stdout
