"""A daemon that is told to stop ends in the time that is promised: at a hub that is gone, with every worker stuck."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from black_hole_support import accepting, dropping
from daemon_support import Arbd, Hub, at_best, eventually

STUCK = """
import hashlib, itertools
from arbd import Provider

provider = Provider(name="prov", execution_timeout=3600)

@provider.actions.register(name="holding")
def holding():
    return sum(itertools.repeat(0, 10**15))

@provider.actions.register(name="computing")
def computing():
    return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1).hex()
"""

Hole = Callable[[], AbstractContextManager[str]]

LINKS = {
    "stream": {"ARBD_HUB_PROTOCOL": "stream"},
    "unary": {"ARBD_HUB_PROTOCOL": "unary"},
    "link processes": {"ARBD_HUB_PROTOCOL": "unary", "ARBD_HUB_LINKS": "2"},
}


def stop_s(arbd: Arbd) -> float:
    """How long it takes from SIGTERM to its end, which is a good one."""
    began_at = time.monotonic()
    arbd.signal(signal.SIGTERM)
    assert arbd.exit_code() == 0
    return time.monotonic() - began_at


@pytest.mark.parametrize("hole", [accepting, dropping])
@pytest.mark.parametrize("kind", LINKS)
def test_idle_at_a_hub_that_is_gone(tmp_path: Path, kind: str, hole: Hole) -> None:
    def attempt() -> None:
        with hole() as address, Arbd.run(address, tmp_path, env=LINKS[kind]) as arbd:
            arbd.wait_serving()
            assert stop_s(arbd) <= 3.0

    at_best(attempt)


@pytest.mark.parametrize("kind", LINKS)
def test_with_every_worker_stuck_in_c_code(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "stuck.py"
    target.write_text(STUCK)

    def attempt() -> None:
        env = {**LINKS[kind], "ARBD_DRAIN_TIMEOUT": "1"}
        with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target, env=env) as arbd:
            arbd.wait_serving()
            ids = [*hub.submit("holding"), *hub.submit("computing")]
            eventually(lambda: hub.stats()["leased"] == 2)
            took_s = stop_s(arbd)
            results = hub.results()
            assert {results[each].response["data"]["error_code"] for each in ids} == {"ABORTED"}
            assert [hub.kinds(each)[-1] for each in ids] == ["result", "result"]
            assert took_s <= 2.0

    at_best(attempt)
