"""A demo run collects every answer, and leaves no process behind however it ends. The daemon here is a stand-in."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from arbd.examples.demo import session
from arbd.examples.demo.jobs import DemoJob
from arbd.tuning import daemon_process
from arbd.tuning.daemon_process import DaemonError

# The simplest daemon: one task at a time over bare gRPC. DEMO_TEST in its environment says how it fails.
STAND_IN = """
import os, sys, json, grpc
from arbd.wire.pb import hub_pb2 as pb
print('stand-in', os.environ.get('DEMO_TEST', 'works'), flush=True)
if os.environ.get('DEMO_TEST') == 'dies':
    sys.exit(3)
if os.environ.get('DEMO_TEST') == 'ignores SIGTERM':
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
channel = grpc.insecure_channel(sys.argv[1])
get = channel.unary_unary('/Hub/GetTask', pb.ProviderRequest.SerializeToString, pb.Task.FromString)
put = channel.unary_unary('/Hub/SubmitTaskResult', pb.TaskResult.SerializeToString, pb.Task.FromString)
seen = sorted(key for key in os.environ if key.startswith(('ARBD_', 'PROVIDER_', 'LOG_SILENT')))
while True:
    task = get(pb.ProviderRequest(provider='stand-in'), timeout=60, wait_for_ready=True)
    if task.id and (os.environ.get('DEMO_TEST') != 'ignores SIGTERM' or task.action == 'convert'):
        data = {'payload': json.loads(task.payload), 'settings': seen, 'workers': sys.argv[2]}
        result = json.dumps({'status': 'success', 'data': data})
        put(pb.TaskResult(id=task.id, provider='stand-in', status='success', action=task.action, result=result))
"""
JOBS = [DemoJob(portfolio=number, action="any", payload={"number": number}) for number in range(20)]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setattr(
        session, "daemon_command", lambda address, workers: [sys.executable, str(script), address, workers]
    )


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def run(jobs: list[DemoJob]) -> tuple[session.Session, int]:
    """The session of ``jobs``, and how often ``on_answer`` was called."""
    calls: list[None] = []
    return asyncio.run(session.run_session(jobs, "2", lambda: calls.append(None))), len(calls)


def test_every_answer_is_collected_in_the_order_of_the_jobs() -> None:
    outcome, calls = run(JOBS)
    assert [answer.job for answer in outcome.answers] == JOBS
    assert [answer.response["data"]["payload"] for answer in outcome.answers] == [job.payload for job in JOBS]
    assert calls == len(JOBS)
    assert all(0.0 < answer.latency_s <= outcome.elapsed_s for answer in outcome.answers)
    # One at a time: the times from hand-out to verdict do not overlap.
    assert sum(answer.latency_s for answer in outcome.answers) <= outcome.elapsed_s
    assert outcome.ready_s > 0.0
    assert outcome.load.workers == []
    assert children() == []


def test_settings_of_the_environment_do_not_reach_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARBD_WORKERS", "PROVIDER_NAME", "LOG_SILENT"):
        monkeypatch.setenv(name, "mine")
    outcome, _ = run(JOBS[:1])
    assert outcome.answers[0].response["data"]["settings"] == []
    assert outcome.answers[0].response["data"]["workers"] == "2"


def test_daemon_that_dies_is_reported_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_TEST", "dies")
    with pytest.raises(DaemonError, match=r"ended with exit code 3\n.*\n  stand-in dies$"):
        run(JOBS)
    assert children() == []


def test_interrupt_kills_even_a_daemon_that_ignores_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_TEST", "ignores SIGTERM")
    monkeypatch.setattr(daemon_process, "STOP_TIMEOUT_S", 0.1)

    async def interrupt_when_ready() -> None:
        # The stand-in answers the warm-up and swallows everything else.
        waiting = asyncio.Event()
        monkeypatch.setattr(session, "_sample_for_ever", lambda meter: _announce(waiting))
        running = asyncio.create_task(session.run_session(JOBS, "2", lambda: None))
        await waiting.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(interrupt_when_ready())
    assert children() == []


async def _announce(event: asyncio.Event) -> None:
    event.set()


def test_daemon_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_READY_TIMEOUT_S", 0.05)
    with pytest.raises(DaemonError, match="answered no task within 0 s"):
        run(JOBS)
    assert children() == []


def test_tasks_that_are_never_answered_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_TEST", "ignores SIGTERM")  # and swallows every task but the first
    monkeypatch.setattr(session, "_TIMEOUT_PER_JOB_S", -(session._READY_TIMEOUT_S - 1.0))
    monkeypatch.setattr(daemon_process, "STOP_TIMEOUT_S", 0.1)
    with pytest.raises(DaemonError, match="the tasks were not done after 1 s"):
        run(JOBS[:1])
    assert children() == []
