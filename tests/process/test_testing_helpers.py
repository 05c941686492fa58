"""``arbd.testing`` as an author uses it: one action in this process, or a daemon with real workers in no time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, ZOO, eventually, is_alive
from import_support import written

from arbd import testing
from arbd.errors import ArbdError, ConfigError
from arbd.testing import RunningProvider, arbd_running, run_action, running

__all__ = ["arbd_running"]  # a fixture: pytest finds it by its name here

sys.path.insert(0, str(PROVIDERS))
import zoo  # an author's own module, found the way an author's tests find it


def test_one_action_in_this_process() -> None:
    assert run_action(zoo.provider, "add", {"a": 1, "b": 2}).data == {"sum": 3}
    assert run_action(zoo.provider, "add", b'{"a": 1, "b": 2}').data == {"sum": 3}
    refused = run_action(zoo.provider, "add", {"a": 1})
    assert (refused.status, refused.data["missing_params"]) == ("error", ["b"])
    assert run_action(zoo.provider, "nothing").message == "Action 'nothing' not found"
    assert run_action(zoo.provider, "with_account", {"x": 1}, {"key": "k"}).data == {"x": 1, "key": "k"}
    assert run_action(zoo.provider, "async_sleep", {"seconds": 0}).status == "success"


@pytest.mark.parametrize("target", [ZOO, str(ZOO), f"{ZOO}:provider", zoo.provider, "zoo", "zoo:provider"])
def test_ways_to_name_a_provider(monkeypatch: pytest.MonkeyPatch, target: object) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROVIDERS))
    with running(target, log_level="critical") as daemon:  # type: ignore[arg-type] # the parameters are of many types
        assert daemon.run("add", {"a": 1, "b": 2}).data == {"sum": 3}


def test_what_an_author_wants_to_assert_takes_less_than_a_second_each(
    arbd_running: Callable[..., RunningProvider],
) -> None:
    begin = time.monotonic()
    daemon = arbd_running(ZOO, execution_timeout=0.1, kill_grace=0.05, log_level="critical")
    assert daemon.run("sleep", {"seconds": 60}).error_code == "TIMEOUT"
    assert daemon.run("die", {"how": "SIGKILL"}).error_code == "WORKER_LOST"
    assert daemon.run("add", {"a": "x", "b": 1}).status == "error"
    assert time.monotonic() - begin < 3


def test_a_setting_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="there is no setting colour; settings are name, "), running(ZOO, colour=1):
        raise AssertionError("it cannot have started")


def test_a_provider_without_a_name_in_its_module_is_refused() -> None:
    nameless = type(zoo.provider)(name="nameless")
    with pytest.raises(ConfigError, match="give it one"), running(nameless):
        raise AssertionError("it cannot have started")


def test_the_workers_are_known_as_soon_as_it_runs() -> None:
    for _ in range(5):
        with running(ZOO, workers=3, log_level="critical") as daemon:
            assert [psutil.Process(pid).name() for pid in daemon.worker_pids] == [f"arbd:worker-{n}" for n in range(3)]


def test_an_error_of_the_test_itself_comes_through_and_the_daemon_ends() -> None:
    pids: list[int] = []

    def body() -> None:
        with running(ZOO, log_level="critical") as daemon:
            pids.extend(daemon.worker_pids)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        body()
    assert [is_alive(pid) for pid in pids] == [False]


def test_what_still_runs_at_the_end_is_waited_for(tmp_path: Path) -> None:
    with running(ZOO, log_level="critical") as daemon:
        handle = daemon.submit("sleep", {"seconds": 0.3})
        while len(daemon.hub.history(handle.id)) < 2:
            time.sleep(0.002)
    assert daemon.response(handle, timeout=0).status == "success"


WITHOUT_DATABASE = """
@provider.resource
def db():
    raise ConnectionRefusedError("no database here")
    yield
"""


def test_a_worker_that_is_not_ready_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = testing._Host.wait_serving

    def wait_until_it_has_failed(host: testing._Host) -> RunningProvider:
        eventually(lambda: host._why_not() != "")
        return wait(host)

    monkeypatch.setattr(testing._Host, "wait_serving", wait_until_it_has_failed)
    monkeypatch.setattr(testing, "START_TIMEOUT_S", 0)
    why = "worker 0 is out of service: resource db: ConnectionRefusedError: no database here"
    with pytest.raises(ArbdError, match=why), running(written(tmp_path, WITHOUT_DATABASE), log_level="critical"):
        raise AssertionError("it cannot have started")
