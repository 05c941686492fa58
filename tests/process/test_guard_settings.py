"""What an action sets for the whole process, the next task finds as it was, and in the same worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.testing import RunningProvider

pytest.importorskip("numpy")


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "settings_changed.py") as daemon:
        yield daemon


def data_of(daemon: RunningProvider, action: str, **payload: Any) -> Any:
    [response] = responses(daemon, [daemon.submit(action, payload or None)])
    assert response.status == "success", response
    return response.data


def names_of(table: str) -> list[str]:
    """The keys of a table there; not by importing it, because it configures ``logging``."""
    text = (PROVIDERS / "settings_changed.py").read_text()
    begin = text.index(f"{table}: dict[")
    hooks = ["displayhook", "breakpointhook", "unraisablehook", "excepthook"] if table == "CHANGES" else []
    return re.findall(r'^    "([^"]+)": ', text[begin : text.index("\n}\n", begin)], re.MULTILINE) + hooks


@pytest.mark.parametrize("how", names_of("CHANGES"))
def test_it_is_put_back(daemon: RunningProvider, how: str) -> None:
    before = data_of(daemon, "look", how=how)
    pid = data_of(daemon, "change", how=how)
    after = data_of(daemon, "look", how=how)
    assert after == before
    assert pid == before[0], "put back, so there was no reason to replace it"


@pytest.mark.parametrize("how", names_of("SEEDS"))
def test_a_seed_gives_nobody_the_same_numbers(daemon: RunningProvider, how: str) -> None:
    drawn = []
    for _ in range(4):
        data_of(daemon, "seed", how=how)
        drawn.append(data_of(daemon, "draw"))
    for numbers in zip(*drawn, strict=True):
        assert len(set(numbers)) == 4


def test_an_audit_hook_replaces_the_worker(daemon: RunningProvider) -> None:
    pid = data_of(daemon, "audit")
    assert data_of(daemon, "works", seconds=0.001) != pid


@pytest.mark.parametrize("action", ["forbid", "shut_down"])
def test_what_has_no_way_back_replaces_the_worker(daemon: RunningProvider, action: str) -> None:
    pid = data_of(daemon, action)
    assert data_of(daemon, "works", seconds=0.001) != pid


def test_a_late_exception_of_a_thread_strikes_no_innocent(daemon: RunningProvider) -> None:
    """It may strike the action that has asked for it, which ends at about the same time."""
    assert data_of(daemon, "strikes_in_time") == "struck"
    for after in (0.0, 0.00005, 0.0002, 0.001, 0.005) * 4:
        daemon.run("strikes_late", {"after": after})
        pids = [data_of(daemon, "works", seconds=0.003) for _ in range(3)]
        assert len(set(pids)) == 1
