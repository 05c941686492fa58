"""A status page over documents that a test makes up: a server of its own, and a sample of a busy day."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from arbd.control.page import CONTENT_TYPE, HEADERS, page

HOSTILE: Final = "<img src=x onerror=\"document.title='owned'\">"


class Made:
    """A server of the page: ``document`` is what it tells, ``None`` nothing. ``address``: where."""

    def __init__(self, document: dict[str, Any] | None) -> None:
        self.document = document
        made = self

        class _Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/":
                    self._send(page().body, {"Content-Type": CONTENT_TYPE, **dict(page().headers)})
                elif self.path == "/status.json" and made.document is not None:
                    body = json.dumps({**made.document}).encode()
                    self._send(body, {"Content-Type": "application/json", **dict(HEADERS)})
                else:
                    self.send_error(404)

            def _send(self, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(200)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """To nobody."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"


@contextmanager
def serving_page(document: dict[str, Any] | None) -> Iterator[Made]:
    """Serve the page and a document."""
    made = Made(document)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def busy_day(workers: int = 8, now: float | None = None) -> dict[str, Any]:
    """The document of a daemon with a bit of everything."""
    now = time.time() if now is None else now
    return {
        "at": now,
        "age_s": 0.3,
        "problems": [],
        "status": _status(workers),
        "history": [_point(now, number) for number in range(300) if not 120 < number < 136],
        "actions": _ACTIONS,
        "limits": [
            {"name": "quotes", "usage": 0.62, "allowed": 148_020, "refused": 0, "troubled": False},
            {
                "name": "gpu",
                "usage": 1.0,
                "allowed": 912,
                "refused": 318,
                "troubled": False,
                "rule": "3 calls in any 60 s",
            },
            {"name": "shared", "usage": 0.1, "allowed": 7, "refused": 0, "troubled": True},
        ],
        "events": [
            {"number": 1, "ago_s": 7400, "level": "info", "event": "daemon_started", "fields": {"workers": workers}},
            {"number": 2, "ago_s": 912, "level": "warning", "event": "hub_lost", "fields": {"status": "UNAVAILABLE"}},
            {"number": 3, "ago_s": 41, "level": "error", "event": "worker_died", "fields": {"why": HOSTILE}},
        ],
    }


def _action(name: str, rate: float, run_s: float, error: float = 0.0, timeouts: int = 0) -> dict[str, Any]:
    took = {"run_p50_s": run_s, "run_p99_s": run_s * 4.2, "wait_p99_s": run_s / 3}
    return {"name": name, "span_s": 20, "success": rate, "error": error, "limit": 0, "timeouts": timeouts, **took}


_ACTIONS: Final = [
    _action("quote", 812.4, 0.000412),
    _action("resize", 41.2, 0.0384, 0.3, 12),
    _action("train", 0.02, 48.1),
    _action(HOSTILE, 0.0, 0.002),
]


def _worker(slot: int, age_s: float) -> dict[str, Any]:
    busy_s, rss = age_s * (0.3 + 0.07 * slot), (88 + 7 * slot) * (1 << 20)
    running = {"id": f"t{slot}", "action": ("quote", "resize", HOSTILE)[slot % 3], "elapsed_s": 0.4, "timeout_s": 30}
    figures = {"tasks_done": 81_204 - 37 * slot, "busy_s": busy_s, "cpu_s": busy_s * 0.8, "rss": rss}
    where = {"slot": slot, "pid": 4100 + slot, "cpus": [slot], "state": "serving", "age_s": age_s}
    last = {"waiting": slot % 4, "running": running if slot % 2 else None, "descriptors": 19, "generation": 1}
    return {**where, **figures, **last}


def _status(workers: int) -> dict[str, Any]:
    answered = [(f"{each['name']}", each["success"] * 7000, each["error"] * 7000) for each in _ACTIONS]
    return {
        "provider": "prices",
        "version": "0.1.0",
        "pid": 4012,
        "state": "serving",
        "uptime_s": 7400,
        "hub": "hub.example:50051",
        "link": {
            "state": "up",
            "protocol": "stream",
            "tasks": 5_920_144,
            "accepted": 5_920_101,
            "failures": {"Attach UNAVAILABLE": 2},
            "reconnects": 1,
        },
        "workers": [_worker(slot, 7390.0 if slot != 3 else 41.0) for slot in range(workers)],
        "workers_wanted": workers + 1,
        "in_flight": 43,
        "backlog": 9,
        "outbox": 3,
        "outbox_limit": 10_000,
        "verdicts": {"success": 5_919_000, "error": 800, "limit": 301},
        "actions": [
            {"name": name, "success": int(good), "error": int(bad), "limit": 0, "running": 1, "timeout_s": 30}
            for name, good, bad in answered
        ],
        "replacements": [
            {"slot": 3, "reason": "killed", "detail": "by signal 9", "action": "resize", "ago_s": 41},
            {"slot": 1, "reason": "memory", "detail": "612 MiB of 512 MiB", "action": "train", "ago_s": 3005},
        ],
        "out_of_service": [
            {"slot": workers, "kind": "spawn", "reason": "no memory for a fork", "times": 3, "retry_in_s": 4.2}
        ],
    }


def _point(now: float, number: int) -> dict[str, Any]:
    wave = (number % 60) / 60
    took = 0.0011 + 0.0009 * wave
    rates = {"success": 760 + 180 * wave, "error": 12.0 if 200 < number < 214 else 0.3, "limit": 4 * wave}
    quantiles = {"p50_s": took, "p95_s": took * 6, "p99_s": took * 40}
    counts = {"busy": 0.45 + 0.3 * wave, "in_flight": 43, "outbox": 3}
    return {"at": now - 2 * (299 - number), **rates, **quantiles, **counts}
