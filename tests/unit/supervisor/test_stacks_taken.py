"""All processes are asked at once, each answer is read when it is complete, and nobody waits longer than the bound."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from stepped_loop import SteppedLoop

from arbd.control.protocol import Failure, GetStacks, OperationReply, StacksReply
from arbd.control.reports import ProcessStacks, RunningTask
from arbd.host import process_facts
from arbd.supervisor import native_stacks, stacks
from arbd.supervisor.commands import Commands
from arbd.supervisor.operations import Operations, Progress
from arbd.supervisor.self_report import SelfReport
from arbd.supervisor.stacks import ANSWER_S, COROUTINES_S, Stacks, Subject

TASK = RunningTask("t", "act", 1.0, 5.0)


class Process:
    """A worker, or a zygote, that answers after so many looks."""

    def __init__(self, slot: int, looks: int = 1, refused: str | None = None, pid: int | None = None) -> None:
        self.id = self.slot = slot
        self.pid = 100 + slot if pid is None else pid
        self.stacks = self
        self.left, self.refused = looks, refused
        self.asked = 0
        self.coroutines: list[bool] | None = None  # what is said to the looks whether they are there
        self.waits = True

    def ask_for_coroutines(self, pid: int, send: Callable[[int], object]) -> bool:
        return self.coroutines is not None

    def has_more(self) -> bool:
        return bool(self.coroutines and self.coroutines.pop(0))

    def wait_no_more(self) -> None:
        self.waits = False

    def send_signal(self, signum: int) -> None:
        """Nothing is sent."""

    def ask(self, pid: int, send: Callable[[int], object]) -> str | None:
        self.asked += 1
        return self.refused

    def is_done(self, pid: int) -> bool:
        self.left -= 1
        return self.left <= 0

    def why_not(self, pid: int) -> str | None:
        return None if self.left <= 0 else "it has not answered"

    def text(self, limit: int) -> str:
        return f"stacks of {self.pid}"[:limit]


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterable[SteppedLoop]:
    loop = SteppedLoop()
    monkeypatch.setattr(time, "monotonic", lambda: loop.now)
    monkeypatch.setattr(process_facts, "where", lambda pid: f"  where {pid} is")
    monkeypatch.setattr(stacks, "links_of", lambda _: [Process(900)])
    yield loop
    loop.close()


def take(loop: SteppedLoop, *workers: Process, slot: int | None = None) -> list[ProcessStacks]:
    async def run() -> list[ProcessStacks]:
        found: Any = workers
        return await Stacks(lambda: found, lambda _: TASK).take(slot)

    taken: list[ProcessStacks] = run_on(loop, run())
    return taken


def run_on(loop: SteppedLoop, coroutine: Any) -> Any:
    found: list[Any] = []

    async def run() -> None:
        found.append(await coroutine)

    loop.run(run())
    return found[0]


def test_supervisor_zygotes_and_workers_in_order(loop: SteppedLoop) -> None:
    found = take(loop, Process(2), Process(1, looks=3), Process(3, pid=0))
    assert [(each.role, each.worker) for each in found] == [
        ("supervisor", None),
        ("zygote", None),
        ("worker", 1),
        ("worker", 2),
    ]
    assert [each.text for each in found[1:]] == ["stacks of 1000", "stacks of 101", "stacks of 102"]
    assert [each.trouble for each in found] == [None] * 4
    assert [each.task for each in found] == [None, None, TASK, TASK]
    assert "in _own" in found[0].text


def test_of_one_slot_only_its_workers_are_asked(loop: SteppedLoop) -> None:
    other = Process(2)
    assert [each.pid for each in take(loop, Process(1), other, slot=1)] == [101]
    assert other.asked == 0


def test_who_does_not_answer_is_told_with_what_the_kernel_says(loop: SteppedLoop) -> None:
    before = loop.now
    [hangs, refuses] = take(loop, Process(1, looks=10**9), Process(2, refused="it is stopped"), slot=None)[2:]
    assert (hangs.trouble, hangs.text) == ("it has not answered", "stacks of 101\n\n  where 101 is")
    assert (refuses.trouble, refuses.text) == ("it is stopped", "  where 102 is")
    assert ANSWER_S <= loop.now - before <= ANSWER_S + 0.01


@pytest.mark.parametrize(("answers", "takes_s"), [([True], 0.01), ([False, True], 0.02), ([], COROUTINES_S + 0.02)])
def test_coroutines_are_waited_for_but_not_for_long(loop: SteppedLoop, answers: list[bool], takes_s: float) -> None:
    waits, before = Process(1), loop.now
    waits.coroutines = answers
    [found] = take(loop, waits, slot=1)
    assert (found.text, found.trouble, waits.waits) == ("stacks of 101", None, False)
    assert loop.now - before < takes_s


def test_many_workers_fit_one_reply(loop: SteppedLoop) -> None:
    found = take(loop, *[Process(slot) for slot in range(2000)])
    assert len(found) == 2002


# -- the command -----------------------------------------------------------------------------------------------------


class Asking:
    """The handler of ``GetStacks``."""

    def __init__(self, loop: SteppedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = loop
        self.operations = Operations()
        monkeypatch.setattr(native_stacks, "find", lambda: "/bin/py-spy")
        self.dumped: list[int] = []

    def ask(self, request: GetStacks) -> Any:
        async def run() -> Any:
            workers: Any = [Process(1), Process(2)]
            nobody: Any = None
            flow: Any = SimpleNamespace(pool=None)
            taken = Stacks(lambda: workers)
            commands = Commands(flow, nobody, nobody, self.operations, nobody, nobody, nobody, taken)
            answer: Any = commands.handlers()[GetStacks](request)
            answer = await answer if asyncio.iscoroutine(answer) else answer
            for _ in range(20):
                await asyncio.sleep(0)
            return answer

        return run_on(self.loop, run())


@pytest.fixture
def asking(loop: SteppedLoop, monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(loop, monkeypatch)


def test_it_answers_with_them(asking: Asking) -> None:
    answer = asking.ask(GetStacks(worker=2))
    assert isinstance(answer, StacksReply)
    assert [each.pid for each in answer.stacks] == [102]


@pytest.mark.parametrize("native", [False, True])
def test_a_worker_that_there_is_not_is_told(asking: Asking, native: bool) -> None:
    answer = asking.ask(GetStacks(worker=7, native=native))
    assert isinstance(answer, Failure)
    assert "no worker 7" in answer.message


def test_without_the_program_it_says_how_to_have_it(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_stacks, "find", lambda: None)
    answer = asking.ask(GetStacks(native=True))
    assert isinstance(answer, Failure)
    assert "arbd[stacks]" in answer.message


def test_native_ones_are_an_operation_of_all_but_the_supervisor(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dump(program: str, pid: int) -> tuple[str, str | None]:
        return ("", "py-spy: no") if pid == 102 else (f"native {pid}", None)

    monkeypatch.setattr(native_stacks, "_dump", dump)
    answer = asking.ask(GetStacks(native=True))
    assert isinstance(answer, OperationReply)
    ended = asking.operations.report(answer.operation.id)
    assert ended is not None
    assert (ended.state, ended.done, ended.total) == ("done", 3, 3)
    assert [(each.pid, each.text, each.trouble) for each in ended.data] == [
        (1000, "native 1000", None),
        (101, "native 101", None),
        (102, "", "py-spy: no"),
    ]
    assert "2 of 3" in ended.text


class Program:
    """py-spy, as far as it is looked at."""

    def __init__(self, code: int | None, out: bytes = b"", err: bytes = b"", error: Exception | None = None) -> None:
        self.returncode: int | None = None
        self._code, self._out, self._err, self._error = code, out, err, error
        self.is_killed = False

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        if self._error is not None:
            raise self._error
        self.returncode = self._code
        return self._out, self._err

    def kill(self) -> None:
        self.is_killed = True


def dump_with(monkeypatch: pytest.MonkeyPatch, program: Program | OSError) -> tuple[str, str | None]:
    def start(path: str, pid: int) -> Any:
        if isinstance(program, OSError):
            raise program
        return program

    monkeypatch.setattr(native_stacks, "_start", start)
    process: Any = Process(1)
    progress = Progress(1, "stacks", "")

    async def run() -> None:
        async def in_this_thread(function: Callable[..., Any], **kwargs: Any) -> Any:
            return function(**kwargs)

        monkeypatch.setattr(asyncio, "to_thread", in_this_thread)
        await native_stacks.take("/bin/py-spy", [Subject("worker", process, 101, 1)], progress)

    asyncio.run(run())
    [found] = progress.data
    return found.text, found.trouble


def test_what_it_prints_is_text_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    text, trouble = dump_with(monkeypatch, Program(0, b"Thread 1\n  f (a.py:3)\x1b[2J\n" + b"x" * 10**6))
    assert trouble is None
    assert text.startswith("Thread 1\n  f (a.py:3)?[2J\n")
    assert len(text) <= 128 * 1024


def test_why_it_cannot_look_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _, trouble = dump_with(monkeypatch, Program(1, err=b"Permission denied\n"))
    assert trouble is not None
    assert "Permission denied" in trouble
    assert "CAP_SYS_PTRACE" in trouble
    assert "ended with 1" in str(dump_with(monkeypatch, Program(1)))
    assert "no such" in str(dump_with(monkeypatch, FileNotFoundError(2, "no such program")))


def test_one_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(None, error=subprocess.TimeoutExpired("py-spy", 10))
    assert "within 20 s" in str(dump_with(monkeypatch, program))
    assert program.is_killed


# -- in the log ------------------------------------------------------------------------------------------------------


def test_status_and_stacks_go_to_the_log_once(loop: SteppedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []

    async def run() -> None:
        workers: Any = [Process(1), Process(2, refused="it is stopped")]
        report = SelfReport(Stacks(lambda: workers, lambda _: TASK))
        log = SimpleNamespace(warning=lambda event, **fields: lines.append((event, fields)))
        monkeypatch.setattr(report, "_log", log)
        report.begin()
        report.begin()
        await asyncio.sleep(1)
        assert len(lines) == 5
        report.begin()
        await asyncio.sleep(1)
        assert len(lines) == 10

    loop.run(run())
    assert lines[0] == ("status", {"state": "starting"})
    assert [(event, fields["process"], fields["trouble"], fields["action"]) for event, fields in lines[1:5]] == [
        ("stacks", "supervisor", None, None),
        ("stacks", "zygote", None, None),
        ("stacks", "worker", None, "act"),
        ("stacks", "worker", "it is stopped", "act"),
    ]
