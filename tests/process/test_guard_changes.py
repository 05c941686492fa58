"""Whatever an action changes in its process, the next task finds it as it was: put back, or in another worker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, responses
from import_support import written

from arbd.testing import RunningProvider

REPLACES = {
    "everything_closed",
    "everything_closed_one_by_one",
    "everything_closed_in_c",
    "module_file_closed_in_c",
    "module_file_led_elsewhere_in_c",
    "thread_that_runs_on",
    "busy_pool",
    "process_group",
}
"""What cannot be put back."""

PUT_BACK = [
    *("chdir", "fchdir", "umask", "environment", "time_zone", "soft_limit", "mask"),
    *("mask_with_one_held_up", "alarm", "alarm_called_off", "alarm_taken_at_import", "interval", "virtual_interval"),
    *("pending_alarm", "default_alarm", "alarm_in_c", "handler_in_c", "ignored_children", "termination"),
    *("own_signals", "without_interrupts", "recursion", "switch_interval", "int_digits", "socket_timeout"),
    *("other_locale", "precision", "variable", "no_collection", "tracing", "memory_tracing", "warning_filters"),
    *("named_logger", "record_factory", "seen_by_c", "stack_size", "decimals_of_new_threads", "not_blocking"),
    *("root_logger", "path", "stdout_replaced", "stdout_closed", "descriptor_one_closed"),
    *("descriptor_one_led_elsewhere", "hooks", "policy", "asyncio_run", "affinity", "niceness", "traceback_dump"),
    *("thread_that_ends", "idle_pool", "woken_descriptor", "woken_descriptor_unseen"),
]


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "guarded.py") as daemon:
        yield daemon


def data_of(daemon: RunningProvider, action: str, payload: object = None) -> Any:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    assert response.status == "success", response
    return response.data


def found_by_the_innocent(daemon: RunningProvider) -> dict[str, Any]:
    state: dict[str, Any] = data_of(daemon, "state")
    state["threads"] = [name for name in state["threads"] if not name.startswith(("ThreadPoolExecutor", "Thread-"))]
    return state


def anywhere(state: dict[str, Any]) -> dict[str, Any]:
    """What is the same in every worker."""
    return {name: value for name, value in state.items() if name != "standard"}


@pytest.mark.parametrize("how", PUT_BACK)
def test_it_is_put_back(daemon: RunningProvider, how: str) -> None:
    before = found_by_the_innocent(daemon)
    pid = data_of(daemon, "change", {"how": how})["pid"]
    assert found_by_the_innocent(daemon) == before
    assert data_of(daemon, "nap", {"seconds": 0.06})["pid"] == pid, "put back, so there was no reason to replace it"


@pytest.mark.parametrize("how", sorted(REPLACES))
def test_what_cannot_be_put_back_replaces_the_worker(daemon: RunningProvider, how: str) -> None:
    before = found_by_the_innocent(daemon)
    pid = data_of(daemon, "change", {"how": how})["pid"]
    assert anywhere(found_by_the_innocent(daemon)) == anywhere(before)
    assert data_of(daemon, "nap", {"seconds": 0.001})["pid"] != pid


@pytest.mark.parametrize(
    "how", ["alarm", "alarm_called_off", "interval", "alarm_in_c", "default_alarm", "traceback_dump"]
)
def test_no_alarm_strikes_later(daemon: RunningProvider, how: str) -> None:
    """Neither in other tasks nor in the worker that sleeps between them."""
    pid = data_of(daemon, "change", {"how": how})["pid"]
    handles = [daemon.submit("nap", {"seconds": 0.15}) for _ in range(8)]
    found = responses(daemon, handles)
    assert [response.data for response in found] == [{"pid": pid}] * 8


def test_the_deadline_holds_after_every_change(daemon: RunningProvider) -> None:
    for how in ("own_signals", "handler_in_c", "without_interrupts", "interval", "mask"):
        data_of(daemon, "change", {"how": how})
        [response] = responses(daemon, [daemon.submit("without_the_alarm")])
        assert response.error_code == "TIMEOUT"


def test_a_time_limit_of_the_author_s_own_works(daemon: RunningProvider) -> None:
    assert data_of(daemon, "with_deadline_of_its_own") == "late, as it should"
    assert data_of(daemon, "with_deadline_of_its_own") == "late, as it should"


def test_a_lowered_hard_limit_reaches_nobody(daemon: RunningProvider) -> None:
    """Put back where the worker may do that; else it is replaced."""
    before = found_by_the_innocent(daemon)
    data_of(daemon, "change", {"how": "hard_limit"})
    assert anywhere(found_by_the_innocent(daemon)) == anywhere(before)


def test_a_daemon_thread_may_go_on(daemon: RunningProvider) -> None:
    pid = data_of(daemon, "change", {"how": "daemon_thread"})["pid"]
    assert data_of(daemon, "nap", {"seconds": 0.1})["pid"] == pid


def test_a_seed_gives_nobody_the_same_numbers(daemon: RunningProvider) -> None:
    drawn = []
    for _ in range(5):
        data_of(daemon, "change", {"how": "seeds"})
        drawn.append(data_of(daemon, "draw"))
    assert len(set(drawn)) == 5


A_POOL = """
import multiprocessing
@provider.resource
def pool():
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        yield pool
@provider.actions.register(name="pooled")
def pooled(pool):
    return [pool.apply(abs, (-3,)), os.getpid()]
"""


def test_a_pool_that_replaces_its_processes_costs_no_worker(tmp_path: Path) -> None:
    """Its own thread closes what it had open before the first task."""
    with daemon_of(written(tmp_path, A_POOL)) as daemon:
        found = [tuple(data_of(daemon, "pooled")) for _ in range(8)]
    assert len(set(found)) == 1


def test_a_library_that_an_action_imports_and_seeds_gives_nobody_the_same_numbers(tmp_path: Path) -> None:
    with daemon_of(written(tmp_path, LAZY_NUMPY)) as daemon:
        assert len({data_of(daemon, name) for _ in range(4) for name in ("seeds", "draws")}) == 5


LAZY_NUMPY = """
@provider.actions.register(name="seeds")
def seeds():
    import numpy
    numpy.random.seed(42)
    return 0
@provider.actions.register(name="draws")
def draws():
    import numpy
    return float(numpy.random.random())
"""


def test_the_wrapped_functions_look_as_they_did(daemon: RunningProvider) -> None:
    told = data_of(daemon, "wrappers")
    assert told["pickled"]
    assert told["doc"]
    assert told["signature"] == "(path)"
    assert told["name"] == ["umask", "os", "signal"]


def test_all_of_them_mixed_with_the_innocent() -> None:
    """Two workers, every change, innocent tasks between them, all at once."""
    hows = [*PUT_BACK, *sorted(REPLACES)]
    with daemon_of(PROVIDERS / "guarded.py", workers=2) as daemon:
        expected = anywhere(found_by_the_innocent(daemon))
        handles = []
        for how in hows:
            daemon.submit("change", {"how": how})
            handles += [daemon.submit("state"), daemon.submit("nap", {"seconds": 0.02})]
        states = [daemon.response(handle, timeout=60) for handle in handles]
        assert {response.status for response in states} == {"success"}
        for response in itertools.islice(states, 0, None, 2):
            response.data["threads"] = expected["threads"]
            assert anywhere(response.data) == expected
        eventually(lambda: daemon.daemon.pool.is_complete())
