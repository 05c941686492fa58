"""An action that has long been harmless and then changes the process: a worker that was idle is as it should be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import daemon_of, responses
from import_support import written

from arbd.core.idle_looks import APART_S
from arbd.testing import RunningProvider
from arbd.worker.looks import PROOF

SOURCE = """
import ctypes, decimal, sys, threading
LIBC = ctypes.CDLL(None)

def hook(*arguments): pass

CHANGES = {
    "sys.path": lambda: sys.path.insert(0, "/left"),
    "hook": lambda: setattr(sys, "excepthook", hook),
    "decimals": lambda: setattr(decimal.DefaultContext, "prec", 3),
    "umask by C": lambda: LIBC.umask(0o777),
    "directory by C": lambda: LIBC.chdir(b"/"),
}

def state():
    mask = LIBC.umask(0o022)
    LIBC.umask(mask)
    return ["/left" in sys.path, sys.excepthook is hook, decimal.DefaultContext.prec, mask, os.getcwd()]

@provider.actions.register()
def act(change: str):
    if change:
        CHANGES[change]()

@provider.actions.register()
def look():
    return state()
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    with daemon_of(written(tmp_path_factory.mktemp("proven"), SOURCE), log_level="critical") as daemon:
        yield daemon


def looked(daemon: RunningProvider) -> Any:
    [response] = responses(daemon, [daemon.submit("look")])
    return response.data


@pytest.mark.parametrize("change", ["sys.path", "hook", "decimals", "umask by C", "directory by C"])
def test_an_idle_worker_is_as_it_should_be(daemon: RunningProvider, change: str) -> None:
    before = looked(daemon)
    responses(daemon, [daemon.submit("act", {"change": ""}) for _ in range(PROOF + 10)])
    [response] = responses(daemon, [daemon.submit("act", {"change": change})])
    assert response.status == "success"
    time.sleep(3 * APART_S)  # until it is rung; nothing runs meanwhile
    assert looked(daemon) == before


@pytest.mark.parametrize("change", ["sys.path", "hook"])
def test_what_python_shows_is_put_back_before_the_next_task(daemon: RunningProvider, change: str) -> None:
    before = looked(daemon)
    responses(daemon, [daemon.submit("act", {"change": ""}) for _ in range(PROOF + 10)])
    handles = [daemon.submit("act", {"change": change}), *(daemon.submit("look") for _ in range(5))]
    assert [response.data for response in responses(daemon, handles)[1:]] == [before] * 5
