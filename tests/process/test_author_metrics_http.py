"""An author's metrics as they are scraped: whole, summed over workers, judged by Prometheus' own parser."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from http_support import Series, scrape

from arbd.testing import RunningProvider, running

PROVIDER = Path(__file__).parent / "providers" / "counting.py"
TASKS = ("tasks_seen_total", ())


def counters_of(lines: Series) -> Series:
    """Those that must never fall."""
    ends = ("_total", "_bucket", "_count", "_sum")
    return {key: value for key, value in lines.items() if key[0].endswith(ends) and not key[0].startswith("arbd_")}


def http_process(daemon: RunningProvider) -> int:
    """The process id of arbd:http, a child of this process."""
    for entry in Path("/proc").iterdir():
        try:
            name, _, rest = (entry / "stat").read_text().rpartition(")") if entry.name.isdigit() else ("", "", "")
            if name.endswith("(arbd:http") and int(rest.split()[1]) == os.getpid():
                return int(entry.name)
        except OSError:  # it has ended meanwhile
            pass
    raise AssertionError("there is no arbd:http")


def test_what_is_scraped_is_what_was_counted_whoever_dies() -> None:
    with running(PROVIDER, workers=2, metrics_listen="0") as daemon:
        for number in range(20):
            assert daemon.run("count", {"kind": 'q"\n\\', "size": number * 20}).status == "success"
        lines = scrape(daemon.daemon.metrics_address)[0]
        assert lines[TASKS] == 20
        assert lines["kinds_total", (("kind", 'q"\n\\'),)] == 20
        assert lines["sizes_bytes_bucket", (("le", "100.0"),)] == 6
        assert lines["sizes_bytes_count", ()] == lines["sizes_bytes_bucket", (("le", "+Inf"),)] == 20
        assert lines["sizes_bytes_sum", ()] == 20 * sum(range(20))
        assert lines["held", ()] == 3
        assert lines["arbd_author_updates_dropped_total", ()] == 0

        before = counters_of(lines)
        for deaths in range(1, 11):
            assert daemon.run("die").error_code == "WORKER_LOST"
            now = counters_of(scrape(daemon.daemon.metrics_address)[0])
            assert all(now[key] >= value for key, value in before.items())
            assert now[TASKS] == 20 + deaths
            before = now

        os.kill(http_process(daemon), signal.SIGKILL)  # the next one knows all that this one knew
        assert daemon.run("count").status == "success"
        now = counters_of(scrape(daemon.daemon.metrics_address)[0])
        assert all(now[key] >= value for key, value in before.items())
        assert now[TASKS] == 31


def test_one_over_the_limit_is_dropped_counted_and_no_error() -> None:
    with running(PROVIDER, workers=2, metrics_listen="0", metrics_author_series=20) as daemon:
        for number in range(60):
            assert daemon.run("count", {"kind": str(number)}).status == "success"
        lines = scrape(daemon.daemon.metrics_address)[0]
        assert lines["arbd_author_series", ()] == 20
        assert sum(not name.startswith("arbd_") for name, _ in lines) <= 20
        assert lines[TASKS] == 60
        assert 30 <= lines["arbd_author_updates_dropped_total", ()] < 60
        assert counters_of(scrape(daemon.daemon.metrics_address)[0]) == counters_of(lines)
