"""Start hooks run in each worker before its first task, stop hooks after its last one, whatever fails or hangs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from daemon_support import Hub, daemon_of, eventually
from life_support import Book, Start

ORDER = """
@provider.on_worker_start
def first(logger, provider, timezone): note("start first", provider["name"], timezone)

@provider.on_worker_start()
async def second():
    await asyncio.sleep(0)
    note("start second")

@provider.on_worker_stop
async def third():
    await asyncio.sleep(0)
    note("stop third")

@provider.on_worker_stop
def fourth(): note("stop fourth")
"""
METHODS = """
class Desk(Provider):
    @arbd.on_worker_start
    def warm(self): note("start", self.name)

    @arbd.on_worker_stop()
    async def cool(self, timezone): note("stop", timezone)

    @arbd.action()
    def who(self): return os.getpid()

del provider
desk = Desk(name="desk")
"""
IN_ORDER = ["start first p UTC", "start second", "stop fourth", "stop third"]


@pytest.mark.parametrize("start", ["fork", "exec"])
def test_they_run_once_in_each_worker_in_their_order(tmp_path: Path, start: Start) -> None:
    book = Book(tmp_path, ORDER, start)
    with daemon_of(book.target, workers=2) as daemon:
        pids = daemon.worker_pids
        daemon.run("pid")
        assert sorted(pid for pid, words in book.lines() if words == IN_ORDER[1]) == sorted(pids)
    assert [book.words(pid) for pid in pids] == [IN_ORDER, IN_ORDER]
    assert {pid for pid, _ in book.lines()} == set(pids)  # and in no other process


def test_methods_of_a_class(tmp_path: Path) -> None:
    book = Book(tmp_path, METHODS)
    with daemon_of(book.target) as daemon:
        pid = daemon.run("who").data
    assert book.words(pid) == ["start desk", "stop UTC"]


def test_a_worker_that_is_replaced_runs_them_too(tmp_path: Path) -> None:
    book = Book(tmp_path, ORDER)
    with daemon_of(book.target) as daemon:
        [before] = daemon.worker_pids
        daemon.reload()
        book.wait("stop third")
        after = eventually(lambda: (pid := daemon.run("pid").data) != before and pid)
        assert book.words(before) == IN_ORDER
        assert book.words(after) == IN_ORDER[:2]


def test_one_whose_task_quota_is_used_up_runs_them_too(tmp_path: Path) -> None:
    book = Book(tmp_path, ORDER)
    with daemon_of(book.target, worker_max_tasks=3) as daemon:
        pids = {daemon.run("pid").data for _ in range(12)}
        assert len(pids) > 1
    assert all(book.words(pid) == IN_ORDER for pid in pids)


FAILING = """
@provider.on_worker_start
def fine(): note("start fine")

@provider.on_worker_start
def broken():
    if os.path.exists({flag!r}):
        {how}
    note("start broken")

@provider.on_worker_start
def last(): note("start last")

@provider.on_worker_stop
def stopped(): note("stop")

@provider.resource(lazy=True)
def never(): note("opened"); yield

atexit.register(note, "atexit")
"""
HOW = {
    "raises": ("raise ConnectionRefusedError('nobody listens')", "ConnectionRefusedError: nobody listens"),
    "exits": ("sys.exit(3)", "SystemExit: 3"),
    "sleeps": ("time.sleep(600)", "TimeoutError: not done within worker.start_timeout (0.3 s)"),
    "swallows": (
        "try: time.sleep(600)\n        except BaseException: pass",
        "TimeoutError: not done within worker.start_timeout (0.3 s)",
    ),
    "hangs in C": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(600)",
        "TimeoutError: not done within worker.start_timeout (0.3 s)",
    ),
}


@pytest.mark.parametrize("how", HOW)
def test_one_that_fails_keeps_the_worker_out_of_service_until_it_does_not(tmp_path: Path, how: str) -> None:
    flag = tmp_path / "broken"
    flag.touch()
    code, reason = HOW[how]
    book = Book(tmp_path, FAILING.format(flag=str(flag), how=code))
    with Hub() as hub, book.daemon(hub, worker_start_timeout=0.3) as arbd:
        [failed, *_] = arbd.wait_event("worker_not_fit")
        assert failed["step"] == "start hook broken"
        eventually(lambda: [each for each in arbd.events() if f"start hook broken: {reason}" in str(each.values())])
        first = book.lines()[0][0]
        eventually(lambda: how == "hangs in C" or "atexit" in book.words(first))
        went_on = ["start broken"] if how == "swallows" else []
        assert [words for words in book.words(first) if words != "atexit"] == ["start fine", *went_on]
        flag.unlink()
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
    last = book.lines()[-1][0]
    assert book.words(last) == ["start fine", "start broken", "start last", "stop", "atexit"]
    assert "opened" not in book.words()


STOPPING = """
@provider.on_worker_stop
def last(): note("stop last")

@provider.on_worker_stop
def hard():
    note("stop hard")
    {how}

@provider.resource
def db():
    yield 1
    note("closed db")

atexit.register(note, "atexit")
"""


@pytest.mark.parametrize("how", ["raise ValueError('no')", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_one_that_fails_at_the_stop_is_told_of_and_the_others_run(tmp_path: Path, how: str) -> None:
    book = Book(tmp_path, STOPPING.format(how=how))
    with Hub() as hub, book.daemon(hub) as arbd:
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert [line["step"] for line in arbd.events("stop_step_failed")] == (
            [] if "kill" in how else ["stop hook hard"]
        )
    assert book.words() == ["stop hard", "stop last", "closed db", "atexit"]


@pytest.mark.parametrize("how", ["time.sleep(600)", "asyncio.run(asyncio.sleep(600))"])
def test_one_that_hangs_is_interrupted_and_the_others_run(tmp_path: Path, how: str) -> None:
    book = Book(tmp_path, STOPPING.format(how=how))
    with Hub() as hub, book.daemon(hub, worker_stop_timeout=1) as arbd:
        arbd.wait_serving(1)
        began = time.monotonic()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert time.monotonic() - began < 10
        assert [line["step"] for line in arbd.events("stop_step_interrupted")] == ["stop hook hard"]
    assert book.words() == ["stop hard", "stop last", "closed db", "atexit"]


def test_one_that_cannot_be_interrupted_ends_with_its_process(tmp_path: Path) -> None:
    how = "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(600)"
    book = Book(tmp_path, STOPPING.format(how=how))
    with Hub() as hub, book.daemon(hub, worker_stop_timeout=0.5) as arbd:
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        [line] = arbd.events("stop_timeout")
        assert line["step"] == "stop hook hard"
    assert book.words() == ["stop hard"]


def test_the_second_request_to_stop_waits_for_none(tmp_path: Path) -> None:
    book = Book(tmp_path, STOPPING.format(how="time.sleep(600)"))
    with Hub() as hub, book.daemon(hub, worker_stop_timeout=300) as arbd:
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        book.wait("stop hard")
        arbd.signal(signal.SIGTERM)
        arbd.exit_code()


def test_with_a_stop_timeout_of_zero_nothing_runs(tmp_path: Path) -> None:
    book = Book(tmp_path, STOPPING.format(how="pass"))
    with Hub() as hub, book.daemon(hub, worker_stop_timeout=0) as arbd:
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
    assert book.words() == []


FORKING = """
@provider.{register}
def forks():
    note("begins")
    if os.fork() == 0: return
    os.wait()
    note("goes on")

@provider.on_worker_start
def started(): note("start")

@provider.on_worker_stop
def stopped(): note("stop")

@provider.actions.register()
def use(**kwargs): note("used")

atexit.register(note, "atexit")
"""


@pytest.mark.parametrize("register", ["on_worker_start", "on_worker_stop", "resource", "resource(lazy=True)"])
def test_a_child_that_one_forks_and_that_comes_back_ends(tmp_path: Path, register: str) -> None:
    book = Book(tmp_path, FORKING.format(register=register))
    with daemon_of(book.target) as daemon:
        pid = daemon.run("pid").data
        if "lazy" in register:
            daemon.run("use")
    assert {noted_by for noted_by, _ in book.lines()} == {pid}
    assert book.words().count("used") == ("lazy" in register)
    assert sorted(each for each in book.words(pid) if each != "used") == (
        ["atexit", "begins", "goes on", "start", "stop"]
    )


def test_what_they_print_is_in_the_log(tmp_path: Path) -> None:
    text = """
@provider.on_worker_start
def start(): print("printed at the start")

@provider.on_worker_stop
def stop(logger):
    print("printed at the stop")
    logger.info("logged at the stop")

atexit.register(print, "printed at exit")
"""
    book = Book(tmp_path, text)
    with Hub() as hub, book.daemon(hub) as arbd:
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        told = arbd.log.read_text() + arbd.out.read_text()
    for words in ("printed at the start", "printed at the stop", "logged at the stop", "printed at exit"):
        assert words in told, words
