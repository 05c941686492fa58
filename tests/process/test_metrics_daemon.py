"""Metrics of a real daemon: sums equal the verdicts, counters never fall whoever is killed, and `arbd:http` answers
whatever becomes of the supervisor and of itself."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import Arbd, Hub, at_best, daemon_of, eventually, flow, is_alive, on_loop, responses, serving
from http_support import Series, fallen, get, raw, scrape, total

from arbd.control.probes import STALE_S
from arbd.core.lifecycle import State
from arbd.errors import EXIT_CONFIG
from arbd.supervisor.worker import Worker
from arbd.testing import RunningProvider


@contextmanager
def shown(**settings: Any) -> Iterator[tuple[RunningProvider, str]]:
    """A daemon that shows its metrics; it, and where."""
    with daemon_of(metrics_listen="0", **settings) as daemon:
        yield daemon, daemon.daemon.metrics_address


def scraped(address: str, answered: int) -> Series:
    """What is shown once so many tasks have been counted."""
    return eventually(lambda: total(found := scrape(address)[0], "arbd_tasks_total") == answered and found)


def at_work(daemon: RunningProvider) -> list[Worker]:
    """Workers that serve, and have finished a task: such a one is replaced at once."""
    workers = list(daemon.daemon.pool.workers.values())
    return [each for each in workers if each.state is State.SERVING and each.answered and is_alive(each.pid)]


def answered(daemon: RunningProvider) -> dict[str, int]:
    return on_loop(daemon, lambda: {str(status): count for status, count in flow(daemon).verdicts.counts.items()})


def test_each_way_to_end_is_counted_with_its_action_outcome_and_reason() -> None:
    with shown(kill_grace=0.05) as (daemon, address):
        responses(daemon, [daemon.submit("echo", {}) for _ in range(7)])
        daemon.run("add", {"a": 1})
        daemon.run("with_account", {"x": 1}, {"wrong": 1})
        daemon.run("fail", {"how": "ValueError"})
        daemon.run("quick_sleep", {"seconds": 5})
        daemon.run("quick_stubborn", {"seconds": 5})
        daemon.run("die", {"how": "SIGKILL"})
        daemon.run("\x1b[2Jnothing\n", {})
        scraped(address, 14)
        # The snapshot is written after the rows.
        eventually(lambda: total(scrape(address)[0], "arbd_worker_replacements_total", reason="timeout"))
        eventually(lambda: total(scrape(address)[0], "arbd_worker_starts_total") >= 3)
        series, _ = scrape(address)
        verdicts = answered(daemon)
    assert total(series, "arbd_tasks_total", action="echo", outcome="success") == 7
    by_reason = {
        ("add", "invalid"): 1,
        ("with_account", "invalid"): 1,
        ("fail", "exception"): 1,
        ("quick_sleep", "timeout"): 1,
        ("quick_stubborn", "timeout"): 1,
        ("die", "worker_lost"): 1,
        ("(other)", "unknown_action"): 1,
    }
    found = {key: total(series, "arbd_task_failures_total", action=key[0], reason=key[1]) for key in by_reason}
    assert found == by_reason
    assert total(series, "arbd_task_failures_total") == verdicts["error"] == 7
    for outcome, count in verdicts.items():
        assert total(series, "arbd_tasks_total", outcome=outcome) == count
    assert total(series, "arbd_task_end_to_end_seconds_count") == 14
    assert total(series, "arbd_task_run_seconds_count") == total(series, "arbd_task_queue_seconds_count") == 11
    assert (
        total(series, "arbd_task_kills_total") == total(series, "arbd_task_kills_total", action="quick_stubborn") == 1
    )
    assert total(series, "arbd_action_workers_ended_total", action="die") == 1
    assert total(series, "arbd_worker_replacements_total", reason="timeout") >= 1
    assert total(series, "arbd_worker_tasks_total") == 11
    assert total(series, "arbd_worker_starts_total") >= 3
    assert {dict(labels)["action"] for (name, labels) in series if name == "arbd_tasks_total"} >= {"(other)", "echo"}


def test_times_are_those_of_the_tasks() -> None:
    with shown() as (daemon, address):
        responses(daemon, [daemon.submit("sleep", {"seconds": 0.2}) for _ in range(3)])
        daemon.run("echo", {})
        series = scraped(address, 4)
    run = total(series, "arbd_task_run_seconds_sum", action="sleep")
    wait = total(series, "arbd_task_queue_seconds_sum", action="sleep")
    assert 0.6 <= run < 1.5
    assert 0 < wait < 1.5  # all but nothing: the hub is asked for the next when there is room for it
    assert total(series, "arbd_task_end_to_end_seconds_sum", action="sleep") == pytest.approx(run + wait)
    assert total(series, "arbd_task_run_seconds_bucket", action="sleep", le="0.134217728") == 0
    assert total(series, "arbd_task_run_seconds_bucket", action="sleep", le="+Inf") == 3


def test_cpu_time_is_that_of_the_action_that_used_it() -> None:
    with shown(execution_timeout=0.4, kill_grace=5) as (daemon, address):
        daemon.run("spin")
        daemon.run("sleep", {"seconds": 0.3})
        scraped(address, 2)
        eventually(lambda: total(scrape(address)[0], "arbd_task_cpu_seconds_total", action="spin"))
        series, _ = scrape(address)
    spun = total(series, "arbd_task_cpu_seconds_total", action="spin")  # on a busy machine little of 0.4 s
    assert total(series, "arbd_task_cpu_seconds_total", action="sleep") < spun / 2


def test_limits_and_what_workers_hold_are_shown(tmp_path: Path) -> None:
    target = tmp_path / "limited.py"
    target.write_text(_LIMITED)
    with shown(target=target) as (daemon, address):
        for _ in range(5):
            daemon.run("few")
        scraped(address, 5)
        # What limits and workers tell is written just after the tasks, once a second.
        series = eventually(lambda: total(found := scrape(address)[0], "arbd_limit_refused_total") == 4 and found)
        pid = serving(daemon).pid
        rss = psutil.Process(pid).memory_info().rss
    assert total(series, "arbd_tasks_total", action="few", outcome="limit") == 4
    assert total(series, "arbd_limit_allowed_total") == 1
    assert total(series, "arbd_limit_refused_total") == 4
    assert total(series, "arbd_limit_usage_ratio") > 0.5
    assert total(series, "arbd_worker_rss_bytes") == pytest.approx(rss, rel=0.5)
    assert total(series, "arbd_worker_descriptors") > 5
    assert total(series, "arbd_hub_up") == total(series, "arbd_ready") == 1


_LIMITED = """
from arbd import Provider
from arbd.rate_limit import TimeBasedRateLimitMonitor

provider = Provider("limited")


@provider.actions.register(name="few", rate_limit_monitor=TimeBasedRateLimitMonitor(min_delay=3600))
def few() -> int:
    return 1
"""


def test_no_counter_falls_while_workers_are_killed_and_sums_equal_the_verdicts() -> None:
    kills = 100
    with shown(workers=2, execution_timeout=5) as (daemon, address):
        handles = []
        before, types = scrape(address)
        scrapes = 0
        killed: set[int] = set()
        while len(killed) < kills:
            handles += [daemon.submit("echo", {"n": number}) for number in range(20)]
            victim = eventually(lambda: next((each.pid for each in at_work(daemon) if each.pid not in killed), 0))
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
            if len(killed) % 5 == 0:
                after, types = scrape(address)
                scrapes += 1
                assert fallen(before, after, types) == []
                before = after
        for handle in handles:
            handle.result(60)
        series = scraped(address, len(handles))
        assert fallen(before, series, types) == []
        verdicts = answered(daemon)
    assert sum(verdicts.values()) == len(handles)
    for outcome, count in verdicts.items():
        assert total(series, "arbd_tasks_total", outcome=outcome) == count
    assert total(series, "arbd_task_end_to_end_seconds_count") == len(handles)
    assert total(series, "arbd_worker_replacements_total", reason="died") > 0.9 * kills
    assert scrapes >= 20


def test_a_reload_loses_no_counter(tmp_path: Path) -> None:
    target = tmp_path / "app.py"
    source = "from arbd import Provider\nprovider = Provider('app')\n"
    action = "@provider.actions.register(name='{0}')\ndef {0}() -> int:\n    return 1\n"
    target.write_text(source + action.format("one"))
    with shown(target=target) as (daemon, address):
        daemon.run("one")
        before, types = scrape(address)
        before = scraped(address, 1)
        target.write_text(source + action.format("two"))
        daemon.reload()
        eventually(lambda: daemon.run("two").status == "success")
        eventually(lambda: total(scrape(address)[0], "arbd_tasks_total", action="two", outcome="success") == 1)
        after, types = scrape(address)
    assert fallen(before, after, types) == []
    assert total(after, "arbd_tasks_total", action="one", outcome="success") == 1


def test_what_is_not_asked_for_is_not_there() -> None:
    with daemon_of() as daemon:
        daemon.run("echo", {})
        assert on_loop(daemon, lambda: flow(daemon).metrics) is None
        assert daemon.daemon.metrics_address == ""


def test_ready_and_alive_with_reasons() -> None:
    with shown() as (daemon, address):
        eventually(lambda: get(address, "/readyz").status == 200)
        assert get(address, "/livez")[:2] == (200, "alive\n")
        workers = list(daemon.daemon.pool.workers.values())
        assert all(worker.state is State.SERVING for worker in workers)


# -- a daemon as an operator runs it ---------------------------------------------------------------------------------


@contextmanager
def operated(directory: Path, hub: Hub, listen: str = "0", **env: str) -> Iterator[tuple[Arbd, str]]:
    """A daemon in processes of its own; it, and where its metrics are."""
    given = {"ARBD_METRICS_LISTEN": listen, "PROVIDER_AUTH_TOKEN": "canary-token-58f1", **env}
    with Arbd.run(hub.address, directory, workers=1, env=given) as arbd:
        [started] = arbd.wait_event("started")
        arbd.wait_serving(1)
        yield arbd, started["metrics"]


def http_pid(arbd: Arbd) -> int:
    return int(eventually(lambda: arbd.family().get("arbd:http", [0])[0]))


def test_a_daemon_that_was_asked_to_stop_is_not_ready_while_its_tasks_end(tmp_path: Path) -> None:
    with Hub() as hub, operated(tmp_path, hub) as (arbd, address):
        [task_id] = hub.submit("sleep", {"seconds": 3.0})
        eventually(lambda: total(scrape(address)[0], "arbd_tasks_running", action="sleep") == 1)
        arbd.signal(signal.SIGTERM)
        refused = eventually(lambda: (found := get(address, "/readyz")).status == 503 and found)
        assert "it drains" in refused.text
        assert hub.results()[task_id].status == "success"


def test_it_answers_while_the_supervisor_is_stopped_and_says_so_at_once(tmp_path: Path) -> None:
    with Hub() as hub, operated(tmp_path, hub) as (arbd, address):
        eventually(lambda: get(address, "/readyz").status == 200)
        arbd.signal(signal.SIGSTOP)
        try:
            live = eventually(lambda: (got := get(address, "/livez")).status == 503 and got, STALE_S + 10)
            assert "stopped, or stuck" in live.text
            assert get(address, "/readyz").text == live.text or "stopped, or stuck" in get(address, "/readyz").text
            series, _ = scrape(address)
            assert total(series, "arbd_snapshot_age_seconds") > STALE_S

            def in_time() -> None:
                for path in ("/livez", "/readyz"):
                    took = []
                    for _ in range(20):
                        begun_at = time.perf_counter()
                        get(address, path)
                        took.append(time.perf_counter() - begun_at)
                    assert min(took) < 0.005

            at_best(in_time)
        finally:
            arbd.signal(signal.SIGCONT)
        eventually(lambda: get(address, "/livez").status == 200)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_it_is_started_again_on_the_same_port_and_nothing_counted_is_lost(tmp_path: Path) -> None:
    with Hub() as hub, operated(tmp_path, hub) as (arbd, address):
        hub.submit("echo", {}, 9)
        hub.results()
        before = scraped(address, 9)
        os.kill(first := http_pid(arbd), signal.SIGKILL)
        arbd.wait_event("http_lost")
        second = eventually(lambda: (pid := http_pid(arbd)) != first and pid)
        after, types = scrape(address)
        assert fallen(before, after, types) == []
        assert second != first
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert not is_alive(second)


def test_it_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with Hub() as hub, operated(tmp_path, hub) as (arbd, address):
        pid = http_pid(arbd)
        arbd.signal(signal.SIGKILL)
        arbd.exit_code()
        eventually(lambda: not is_alive(pid))
        with pytest.raises(OSError, match="refused"):
            get(address, "/livez")


def test_it_holds_no_token_and_cannot_write_what_it_reads(tmp_path: Path) -> None:
    with Hub(tokens=["canary-token-58f1"]) as hub, operated(tmp_path, hub) as (arbd, address):
        pid = http_pid(arbd)
        for name in ("environ", "cmdline"):
            assert b"canary-token-58f1" not in Path(f"/proc/{pid}/{name}").read_bytes()
        for path in ("/metrics", "/livez", "/readyz"):
            assert "canary-token-58f1" not in get(address, path).text
        mapped = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "arbd-metrics" in line]
        assert {line.split()[1] for line in mapped} == {"r--s"}
        held = [link.name for link in Path(f"/proc/{pid}/fd").iterdir() if "arbd-metrics" in os.readlink(link)]
        infos = [Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines() for fd in held]
        flags = [int(line.split()[1], 8) for info in infos for line in info if line.startswith("flags:")]
        assert [each & os.O_ACCMODE for each in flags] == [os.O_RDONLY] * len(held)


def test_a_port_that_is_taken_is_told_with_what_else_is_wrong(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = {"ARBD_METRICS_LISTEN": port, "ARBD_CONTROL_SOCKET": "/proc/nowhere/x.sock"}
        with Arbd.run("127.0.0.1:1", tmp_path, env=env) as arbd:
            assert arbd.exit_code() == EXIT_CONFIG
            said = arbd.log.read_text()
    assert f"metrics.listen 127.0.0.1:{port}: Address already in use" in said
    assert "control.socket /proc/nowhere/x.sock" in said
    assert "Traceback" not in said


def test_off_loopback_it_warns(tmp_path: Path) -> None:
    with Hub() as hub, operated(tmp_path, hub, "0.0.0.0:0") as (arbd, address):
        [warning] = arbd.events("metrics_off_loopback")
        assert "without a password" in warning["hint"]
        port = address.rpartition(":")[2]
        assert raw(f"127.0.0.1:{port}", b"GET /livez HTTP/1.1\r\nHost: any.name\r\nConnection: close\r\n\r\n").endswith(
            b"alive\n"
        )


ATTACKS = {
    "says nothing": b"",
    "drop by drop": b"GET /metrics HTTP/1.1\r\nX: ",
    "reads nothing": b"GET /status.json HTTP/1.1\r\n\r\n" * 50,
    "no HTTP": bytes(range(256)) * 40,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_attacks_it_costs_neither_the_supervisor_nor_a_scrape(tmp_path: Path, attack: str) -> None:
    with Hub() as hub, operated(tmp_path, hub) as (arbd, address), ExitStack() as stack:
        pid, supervisor = http_pid(arbd), psutil.Process(arbd.process.pid)
        eventually(lambda: get(address, "/readyz").status == 200)
        used_s, host, port = sum(supervisor.cpu_times()[:2]), *address.split(":")
        begun_at = time.monotonic()
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            with suppress(ConnectionError):
                connection.sendall(ATTACKS[attack])
        assert [get(address, path).status for path in ("/metrics", "/livez", "/readyz", "/")] == [200] * 4
        passed_s = time.monotonic() - begun_at
        assert sum(supervisor.cpu_times()[:2]) - used_s < 0.1 + 0.2 * passed_s
        assert http_pid(arbd) == pid, "it was never started again"
        assert psutil.Process(pid).num_fds() < 150
    assert "unexpected_failure" not in arbd.log.read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_finds_nothing_to_complain_of() -> None:
    with shown() as (daemon, address):
        daemon.run("echo", {})
        text = get(address, "/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_whoever_scrapes_costs_the_supervisor_nothing() -> None:
    with shown() as (daemon, address):
        numbers = itertools.count()
        begun_at = time.monotonic()
        while time.monotonic() - begun_at < 1.0:
            scrape(address)
            next(numbers)
        on_loop(daemon, lambda: None)
        assert next(numbers) > 3
