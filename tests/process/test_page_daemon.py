"""The status page of real daemons: what it is told, and in a browser what it shows while they live, hang and die."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_support import Browser, browser, needs_browser
from daemon_support import Arbd, Hub, eventually, responses
from http_support import get
from page_support import HOSTILE

from arbd.control.page import page
from arbd.testing import RunningProvider, running

PROVIDER = f"""
import os
from arbd import Provider

provider = Provider(name="hostile", execution_timeout=5)


@provider.actions.register(name={HOSTILE!r})
def hostile():
    return {{}}


@provider.actions.register(name="die")
def die():
    os._exit(3)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[RunningProvider, str]]:
    """A daemon of three workers with a hostile action, and where its page is."""
    target = tmp_path / "hostile.py"
    target.write_text(PROVIDER)
    with running(target, workers=3, log_level="critical", metrics_listen="0") as found:
        yield found, found.daemon.metrics_address


def document(address: str) -> dict[str, Any]:
    """What the page is told."""
    found: dict[str, Any] = json.loads(get(address, "/status.json").text)
    return found


def test_the_page_comes_whole_and_with_its_policy(daemon: tuple[RunningProvider, str]) -> None:
    got = get(daemon[1], "/")
    assert got.text.encode() == page().body
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert got.headers["cache-control"] == "no-store"
    assert {name: got.headers[name.lower()] for name, _ in page().headers} == dict(page().headers)


def test_the_document_follows_the_daemon(daemon: tuple[RunningProvider, str]) -> None:
    running_daemon, address = daemon
    responses(running_daemon, [running_daemon.submit(HOSTILE, {}) for _ in range(30)])

    def told() -> dict[str, Any] | None:
        found = document(address)
        return found if found["status"]["verdicts"]["success"] == 30 and len(found["history"]) > 1 else None

    found = eventually(told)
    assert found["problems"] == []
    assert found["age_s"] < 5
    assert len(found["status"]["workers"]) == 3
    assert all(worker["rss"] > 1 << 20 and worker["descriptors"] > 3 for worker in found["status"]["workers"])
    assert {each["name"] for each in found["status"]["actions"]} >= {HOSTILE, "die"}


def test_the_history_sums_to_what_was_answered(daemon: tuple[RunningProvider, str]) -> None:
    """Rates times the times between points: nothing is counted twice, and nothing left out."""
    running_daemon, address = daemon
    eventually(lambda: len(document(address)["history"]) > 0)
    responses(running_daemon, [running_daemon.submit(HOSTILE, {}) for _ in range(200)])

    def counted() -> bool:
        points = document(address)["history"]
        answered = (now["success"] * (now["at"] - before["at"]) for before, now in itertools.pairwise(points))
        return round(sum(answered, 0.0)) == 200

    eventually(counted)


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests here."""
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def column(window: Browser, table: str, number: int) -> list[str]:
    """The cells of a column, from top to bottom."""
    cells = f"[...document.querySelectorAll('#{table} tbody tr')].map(row => row.children[{number}]?.innerText ?? '')"
    found: list[str] = window.run(f"return {cells}")
    return found


@needs_browser
def test_a_browser_shows_the_workers_of_the_daemon(window: Browser, daemon: tuple[RunningProvider, str]) -> None:
    running_daemon, address = daemon
    window.log("browser")
    window.open(f"http://{address}/")
    pids = [str(worker.pid) for worker in running_daemon.daemon.pool.workers.values()]
    eventually(lambda: column(window, "workers", 2) == pids)
    responses(running_daemon, [running_daemon.submit(HOSTILE, {}) for _ in range(30)])
    eventually(lambda: "30" in column(window, "actions", 2))
    assert column(window, "actions", 0)[0] == HOSTILE
    assert window.run("return document.title") == "hostile · arbd"
    running_daemon.response(running_daemon.submit("die", {}), timeout=20)
    eventually(lambda: any("die" in cell for cell in column(window, "replaced", 2)))
    eventually(lambda: column(window, "workers", 2) != pids and len(column(window, "workers", 2)) == 3)
    assert window.run("return document.querySelectorAll('img').length") == 0
    assert window.log("browser") == []


@needs_browser
def test_a_browser_tells_a_daemon_that_hangs_from_one_that_is_gone(window: Browser, tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env={"ARBD_METRICS_LISTEN": "0"}) as arbd:
        [started] = arbd.wait_event("started")
        arbd.wait_serving()
        window.open(f"http://{started['metrics']}/")
        window.wait("document.querySelector('#state').innerText == 'serving'")
        arbd.signal(signal.SIGSTOP)
        window.wait("!document.querySelector('#gone').hidden")
        assert "its http process answers" in window.text("#gone").lower()
        arbd.signal(signal.SIGCONT)
        window.wait("document.querySelector('#state').innerText == 'serving'")
        assert window.run("return document.querySelector('#gone').hidden")
        os.kill(arbd.process.pid, signal.SIGKILL)
        window.wait("document.querySelector('#gone').innerText.includes('Nothing answers at this address')")
        assert "last seen" in window.text("#seen")
