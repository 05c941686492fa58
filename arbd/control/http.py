"""The program of `arbd:http`: ``python -m arbd.control.http CONTROL_FD PARENT_PID``.

    start ─> tied to its supervisor ─> Boot ─> serve /metrics, /livez, /readyz, … from the pages ─> end of the stream

It asks nobody anything: what it shows it reads from shared memory, mapped read-only, and from /proc. So neither a
scrape nor a bad request costs the supervisor a moment, and it answers while the supervisor is stopped. It holds no
token, and nothing of the author's.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping

from arbd import logs
from arbd.control import exposition, http_boot, probes, snapshot, status_document
from arbd.control import page as status_page
from arbd.control.author_text import AuthorText
from arbd.control.exposition import Exposition, Footprint, MetricFigures
from arbd.control.http_request import HttpAnswer, plain
from arbd.control.http_server import HttpServer, LongAnswer, Route
from arbd.control.recent import PERIOD_S, Recent
from arbd.control.snapshot import Snapshot
from arbd.errors import EXIT_OK, EXIT_UNEXPECTED
from arbd.host import cpu_clock, footprint, process_state, procs, secrecy, strays
from arbd.ipc import layout
from arbd.ipc.metrics_page import SLOT_STARTS, MetricsReader
from arbd.printable import printable
from arbd.supervised import install, supervised


class View:
    """All that `arbd:http` can see: the metrics page, and pages that were added, by kind and number."""

    def __init__(self, words: memoryview) -> None:
        self.metrics = MetricsReader(words)
        self.pages: dict[str, dict[int, memoryview]] = {}
        self.recent = Recent(status_document.BOUNDS_S)
        self._snapshot: Snapshot | None = None
        self._read_at_ns = 0

    def age_s(self) -> float:
        """How long ago the supervisor has written its last snapshot."""
        return max(0, time.monotonic_ns() - self.metrics.snapshot_at_ns) / 1e9

    def snapshot(self) -> Snapshot | None:
        """The last snapshot that could be read; ``None``: none could ever be."""
        at_ns = self.metrics.snapshot_at_ns
        if at_ns != self._read_at_ns:
            document = self.metrics.snapshot()
            if document is not None:
                self._snapshot, self._read_at_ns = snapshot.decode(document), at_ns
        return self._snapshot

    def ready(self) -> probes.Verdict:
        """Whether the daemon takes tasks."""
        seen = self.snapshot()
        return probes.ready(self.age_s(), None if seen is None else seen.status)

    def figures(self) -> MetricFigures:
        """All that /metrics shows, at this moment."""
        seen = self.snapshot()
        counted = ((slot, self.metrics.slot(slot)) for slot in range(layout.MAX_SLOTS))
        slots = {slot: counters for slot, counters in counted if counters[SLOT_STARTS]}
        return MetricFigures(
            rows=self.metrics.read_rows(),
            slots=slots,
            snapshot=seen,
            age_s=self.age_s(),
            is_ready=self.ready().is_good,
            workers={} if seen is None else _footprints(seen),
            supervisor=_supervisor(os.getppid()),
        )

    def observe(self) -> None:
        """Note how the counters are, for the charts of the page. Nothing, as long as the supervisor writes nothing."""
        rows, seen = self.metrics.read_rows(), self.snapshot()
        if seen is not None:
            self.recent.add(status_document.reading(self._read_at_ns, seen, rows))

    def status(self) -> bytes:
        """What the page shows."""
        seen = self.snapshot()
        pids = [] if seen is None else [worker.pid for worker in seen.status.workers if worker.pid]
        holds = {pid: _footprint(pid) for pid in pids}
        return status_document.encode(seen, self.age_s(), self.ready(), self.recent, holds)

    def add(self, kind: str, key: int, words: memoryview) -> None:
        """One more page."""
        self.pages.setdefault(kind, {})[key] = words

    def remove(self, kind: str, key: int) -> None:
        """A page that is gone."""
        self.pages.get(kind, {}).pop(key, None)


def _footprints(seen: Snapshot) -> Mapping[int, Footprint]:
    """What workers hold, by slot; two of one slot together."""
    found: dict[int, Footprint] = {}
    for worker in seen.status.workers:
        if not worker.pid:
            continue
        before = found.get(worker.slot, Footprint())
        its = _footprint(worker.pid)
        found[worker.slot] = Footprint(_added(before.rss, its.rss), _added(before.descriptors, its.descriptors))
    return found


def _added(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _footprint(pid: int) -> Footprint:
    return Footprint(footprint.rss_of(pid), footprint.descriptors_of(pid))


def _supervisor(pid: int) -> Footprint:
    return _footprint(pid)._replace(cpu_s=cpu_clock.used_s(pid))


def routes(view: View) -> dict[str, Route]:
    """What is served, by path."""
    text, author = Exposition(), AuthorText()

    def metrics() -> LongAnswer:
        more = author.families(view.pages.get(http_boot.AUTHOR, {}))
        return LongAnswer(text.pieces(view.figures(), more), exposition.CONTENT_TYPE)

    return {
        "/metrics": metrics,
        "/livez": lambda: _probe(probes.live(view.age_s())),
        "/readyz": lambda: _probe(view.ready()),
        "/": _page,
        "/status.json": lambda: HttpAnswer(200, view.status(), status_document.CONTENT_TYPE, status_page.HEADERS),
    }


def _probe(verdict: probes.Verdict) -> HttpAnswer:
    return plain(200 if verdict.is_good else 503, "\n".join(map(printable, verdict.lines)))


def _page() -> HttpAnswer:
    page = status_page.page()
    return HttpAnswer(200, page.body, status_page.CONTENT_TYPE, page.headers)


# -- the process -----------------------------------------------------------------------------------------------------


def main(control_fd: int, parent: int) -> int:
    """Serve until the supervisor has ended; the exit code."""
    process_state.establish()
    secrecy.seclude()  # it holds no secret; but what it shows is believed, so no action may write into it
    procs.die_with_parent(parent)
    procs.set_name("arbd:http")
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)  # those that end a daemon are for the supervisor
    logs.own_stderr()
    strays.ignore(logs.get_logger("arbd.http"))
    try:
        return asyncio.run(_serve(control_fd))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        logs.get_logger("arbd.http").critical("unexpected_failure", where="arbd:http", error=what, exc_info=error)
        return EXIT_UNEXPECTED


async def _serve(control_fd: int) -> int:
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    boot, (page, listener_fd, *losses) = http_boot.receive(control)
    assert isinstance(boot, http_boot.HttpBoot)
    logs.configure(boot.log_level, boot.log_format, boot.log_silent, role="http", losses=losses[0] if losses else None)
    control.setblocking(False)
    has_failed = asyncio.Event()
    ended = asyncio.Event()

    def on_failure(_: BaseException) -> None:
        has_failed.set()
        ended.set()

    loop = asyncio.get_running_loop()
    install(loop, on_failure)
    view = View(_mapped(page))
    server = HttpServer(routes(view), boot.address)
    # All pages that were there before this process: else its first scrape would show less than the last one before.
    while _on_message(control, view, ended):
        pass
    await server.start(socket.socket(fileno=listener_fd))
    loop.add_reader(control, lambda: _on_message(control, view, ended))
    observing = supervised(_observe(view), "observe")
    await ended.wait()
    observing.cancel()
    loop.remove_reader(control)
    await server.close()
    return EXIT_UNEXPECTED if has_failed.is_set() else EXIT_OK


async def _observe(view: View) -> None:
    while True:
        view.observe()
        await asyncio.sleep(PERIOD_S)


def _on_message(control: socket.socket, view: View, ended: asyncio.Event) -> bool:
    """Heed one message; ``False``: there was none, or there will be none any more."""
    try:
        message, descriptors = http_boot.receive(control)
    except BlockingIOError:
        return False
    except OSError:
        ended.set()  # no end that could say anything any more
        return False
    if message is None:
        ended.set()
    elif isinstance(message, http_boot.PageAdded) and descriptors:
        view.add(message.kind, message.key, _mapped(descriptors[0]))
    elif isinstance(message, http_boot.PageRemoved):
        view.remove(message.kind, message.key)
    return message is not None


def _mapped(fd: int) -> memoryview:
    """A page as words that can only be read; its descriptor is closed."""
    try:
        return memoryview(mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)).cast("Q")
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
