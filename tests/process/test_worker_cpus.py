"""A worker has as many CPUs as the setting says, and its libraries are told so, whether it is pinned or not; what the
operator has told them stays, and what an action starts inherits both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from daemon_support import daemon_of

from arbd.settings.thread_variables import TABLE

CPUS = sorted(os.sched_getaffinity(0))
NAMES = [variable.name for variable in TABLE]

SOURCE = """
import os, subprocess, sys
from arbd import Provider
provider = Provider(name="threads", execution_timeout=20)
at_import = dict(os.environ)
if {by_exec}:
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
SCRIPT = "import json, os; print(json.dumps([sorted(os.sched_getaffinity(0)), dict(os.environ)]))"

@provider.actions.register(name="see")
def see(names):
    import json
    cpus, environ = json.loads(subprocess.check_output([sys.executable, "-c", SCRIPT]))
    def of(environ): return {{name: environ.get(name) for name in names}}
    return {{"cpus": sorted(os.sched_getaffinity(0)), "child_cpus": cpus,
             "env": of(os.environ), "at_import": of(at_import), "child": of(environ)}}
"""


@pytest.fixture(params=[False, True], ids=["forked", "by exec"])
def provider(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in TABLE:
        for name in (variable.name, *variable.falls_back_on):
            monkeypatch.delenv(name, raising=False)
    path = tmp_path / "threads.py"
    path.write_text(SOURCE.format(by_exec=request.param))
    return path


def seen(target: Path, **settings: Any) -> dict[str, Any]:
    with daemon_of(target, **settings) as daemon:
        response = daemon.run("see", {"names": NAMES}, timeout=30)
    assert response.status == "success", response
    return dict(response.data)


def expected(threads: int) -> dict[str, str | None]:
    switch = "false" if threads == 1 else None
    return {variable.name: switch if variable.only_for_one else str(threads) for variable in TABLE}


@pytest.mark.parametrize("pin", [True, False])
def test_one_cpu_and_one_thread_by_default(provider: Path, pin: bool) -> None:
    found = seen(provider, pin=pin)
    assert found["cpus"] == found["child_cpus"] == (CPUS[:1] if pin else CPUS)
    assert found["env"] == found["at_import"] == found["child"] == expected(1)


def test_two(provider: Path) -> None:
    found = seen(provider, pin=True, worker_cpus=2)
    assert found["cpus"] == found["child_cpus"] == CPUS[:2]
    assert found["env"] == found["at_import"] == found["child"] == expected(min(2, len(CPUS)))


def test_no_more_threads_than_there_are_cpus(provider: Path) -> None:
    found = seen(provider, pin=True, worker_cpus=1024)
    assert found["cpus"] == CPUS
    assert found["env"]["OMP_NUM_THREADS"] == str(len(CPUS))


def test_what_the_operator_has_set_stays(provider: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "")
    found = seen(provider)["env"]
    assert (found["OMP_NUM_THREADS"], found["OPENBLAS_NUM_THREADS"], found["NUMBA_NUM_THREADS"]) == ("5", None, "1")
