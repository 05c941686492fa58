"""A monitor of an author's own is each worker's own, unless it says ``shared``: then one process is asked by all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, Arbd, Hub, daemon_of, eventually, responses

from arbd.errors import EXIT_UNEXPECTED, ConfigError
from arbd.testing import RunningProvider


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "one_place.py", workers=3) as daemon:
        yield daemon


def counts(daemon: RunningProvider, action: str, times: int) -> dict[str, int]:
    found = [response.status for response in responses(daemon, [daemon.submit(action, {}) for _ in range(times)])]
    return {status: found.count(status) for status in set(found)}


def test_a_shared_monitor_counts_for_all_workers(daemon: RunningProvider) -> None:
    assert counts(daemon, "shared", 30) == {"success": 5, "limit": 25}
    refused = daemon.run("shared")
    assert (refused.data["made"], refused.data["wait_time"]) == (5, 3.0)
    assert refused.data["pid"] not in daemon.worker_pids
    assert psutil.Process(refused.data["pid"]).name() == "arbd:limits"


def test_any_other_counts_for_its_worker(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("each", {}) for _ in range(40)])
    by_pid = Counter(response.data["pid"] for response in found if response.status == "success")
    assert len(by_pid) > 1
    assert max(by_pid.values()) == 5


def test_it_is_shared_by_hand_too(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("hands", {}) for _ in range(3)])
    found += responses(daemon, [daemon.submit("hands", {}) for _ in range(1)])
    assert [response.data for response in found] == [{"made": True}] * 4
    assert daemon.run("hands").data["made"] is False


def test_one_that_fails_costs_the_task_and_one_that_dies_is_started_again(daemon: RunningProvider) -> None:
    found = [daemon.run("moody") for _ in range(4)]
    assert [response.status for response in found] == ["success", "success", "error", "success"]
    assert found[2].message == "the rate limit could not be checked: Moody: ValueError: third time unlucky"
    again = daemon.run("moody")  # its process dies under this one, and a new one answers
    assert again.status == "success"
    assert eventually(lambda: daemon.run("moody").status == "success")


HEAD = """
import errno, os, sys, time
from arbd import Provider, RateLimitMonitor
provider = Provider(name="p", execution_timeout=30)
class Shared(RateLimitMonitor):
    shared = True
    asked = 0
    def check_rate_limits(self):
        Shared.asked += 1
        ANSWER
@provider.actions.register(name="limited", rate_limit_monitor=Shared())
def limited(): return {"pid": os.getpid()}
"""


def limited(tmp_path: Path, answer: str = "return None", fault: str = "") -> Path:
    (tmp_path / "limited.py").write_text(HEAD.replace("ANSWER", answer) + fault)
    return tmp_path / "limited.py"


def test_without_a_process_for_it_tasks_are_told_and_it_is_tried_again(tmp_path: Path) -> None:
    """The first fork is its, the second a worker's; all others fail until a file says that they may not."""
    go = tmp_path / "go"
    fault = f"""
import arbd.worker.limits.monitor_client, arbd.worker.limits.monitor_process
arbd.worker.limits.monitor_client._CONNECT_TIMEOUT_S = 0.3
arbd.worker.limits.monitor_process._LONGEST_PAUSE_S = 0.3
real, calls = os.fork, []
def fork():
    calls.append(1)
    if len(calls) == 2 or os.path.exists({str(go)!r}):
        return real()
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
os.fork = fork
"""
    with daemon_of(limited(tmp_path, fault=fault)) as daemon:
        [pid] = daemon.worker_pids
        refused = daemon.run("limited", timeout=20)
        assert refused.message == "the rate limit could not be checked: nobody answers for it"
        go.touch()
        assert eventually(lambda: daemon.run("limited", timeout=20).status == "success")
        assert daemon.worker_pids == [pid]


@pytest.mark.parametrize("call", ["pidfd_open", "fork"])
def test_one_failure_of_the_system_is_not_the_end(tmp_path: Path, call: str) -> None:
    fault = f"""
real, calls = os.{call}, []
def once(*arguments):
    calls.append(1)
    if len(calls) == 1:
        raise OSError(errno.EMFILE, "Too many open files")
    return real(*arguments)
os.{call} = once
"""
    with daemon_of(limited(tmp_path, fault=fault)) as daemon:
        assert eventually(lambda: daemon.run("limited", timeout=20).status == "success")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("raise ValueError('no such key ' + 'ж' * 200_000)", "Shared: ValueError: no such key ж"),
        ("raise ValueError('\\udcff')", "Shared: ValueError: "),
        ("sys.exit('enough')", "Shared: SystemExit: enough"),
        ("return {'rate_limited': True, 'wait_time': 1.0, 'text': 'x' * 200_000}", "its answer has 200"),
    ],
)
def test_whatever_a_monitor_raises_or_says_is_told_to_the_task(tmp_path: Path, answer: str, told: str) -> None:
    """And the process that is asked goes on: its monitors keep their counts."""
    with daemon_of(limited(tmp_path, f"if Shared.asked == 1: {answer}")) as daemon:
        refused = daemon.run("limited", timeout=20)
        assert refused.status == "error"
        assert told in (refused.message or "")
        assert daemon.run("limited").status == "success"


def test_a_process_for_it_that_fails_ends_with_71_and_is_started_again(tmp_path: Path) -> None:
    """What nobody expected there: here the poll of its own loop."""
    fault = """
import select
real = select.poll
def poll():
    if open("/proc/self/comm").read().strip() == "arbd:limits" and not os.path.exists(MARK):
        open(MARK, "w").close()
        raise RuntimeError("a bug")
    return real()
select.poll = poll
""".replace("MARK", repr(str(tmp_path / "mark")))
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=limited(tmp_path, fault=fault), workers=1) as arbd:
        arbd.wait_serving(1)
        [ended] = arbd.wait_event("shared_monitors_ended")
        [failed] = arbd.events("shared_monitors_failed")
        assert (ended["status"], failed["level"], failed["role"]) == (EXIT_UNEXPECTED, "critical", "limits")
        assert "RuntimeError: a bug" in failed["exception"]
        [task_id] = hub.submit("limited", {})
        assert hub.results()[task_id].status == "success"


def test_it_has_the_descriptors_of_its_process_alone(tmp_path: Path) -> None:
    """Without one for a connection, who asks is hung up on and tries again; the others go on being answered."""
    hog = """
if Shared.asked == 1:
            import resource, threading
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            held = []
            try:
                while True: held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError: pass
            threading.Timer(0.5, lambda: [os.close(fd) for fd in held]).start()
""".strip()
    with daemon_of(limited(tmp_path, hog), workers=3) as daemon:
        assert daemon.run("limited").status == "success"
        found = responses(daemon, [daemon.submit("limited", {}) for _ in range(60)])
        assert [response.status for response in found] == ["success"] * 60


def test_a_module_that_starts_threads_cannot_have_one(tmp_path: Path) -> None:
    text = (PROVIDERS / "one_place.py").read_text()
    module = tmp_path / "threaded.py"
    starts_one = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    module.write_text(f"{text}\n{starts_one}")
    with pytest.raises(ConfigError, match="Shared says shared = True"), daemon_of(module):
        pass
