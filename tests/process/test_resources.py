"""Each worker has its own resources, opened in order and closed in reverse; no caller takes the place of one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from daemon_support import Hub, daemon_of, eventually
from life_support import Book, Start

ALL_KINDS = """
@provider.resource
def settings():
    note("open settings")
    yield {"size": 2}
    note("close settings")

@provider.resource
async def pool(settings, logger):
    note("open pool")
    async with asyncio.TaskGroup() as group:  # left by the task that entered it, or it raises
        beat = group.create_task(asyncio.Event().wait())
        yield {"size": settings["size"], "pid": os.getpid(), "beat": beat}
        beat.cancel()
    note("close pool")

@provider.resource(lazy=True)
async def model(pool):
    note("open model")
    await asyncio.sleep(0)
    yield ["model", pool["size"]]
    note("close model")

@provider.resource(name="plain")
def makes_it(): return "plain value"

@provider.resource
async def awaited(): return "awaited value"

@provider.actions.register()
def names(plain, awaited, settings, size=3): return [plain, awaited, settings, size]

@provider.actions.register(payload_schema={"n": int})
async def ask(pool, n, settings): return [pool["pid"], pool["beat"].done(), n, settings["size"]]

@provider.actions.register()
def think(model): return model

@provider.actions.register()
def everything(**kwargs): return {"given": sorted(kwargs), "settings": kwargs["settings"]}

@provider.actions.register()
async def cancels_all():
    for task in asyncio.all_tasks() - {asyncio.current_task()}: task.cancel()
    await asyncio.sleep(0.01)
"""


@pytest.mark.parametrize("start", ["fork", "exec"])
def test_every_kind(tmp_path: Path, start: Start) -> None:
    book = Book(tmp_path, ALL_KINDS, start)
    with daemon_of(book.target, execution_timeout=5) as daemon:
        [pid] = daemon.worker_pids
        stolen = {"plain": 1, "settings": {"size": 99}, "awaited": 1, "pool": {}}
        assert daemon.run("names", stolen).data == ["plain value", "awaited value", {"size": 2}, 3]
        assert daemon.run("ask", {"n": 5}).data == [pid, False, 5, 2]
        assert book.words(pid) == ["open settings", "open pool"]
        assert daemon.run("think").data == ["model", 2]
        assert daemon.run("think", {"model": "mine"}).data == ["model", 2]
        assert book.words(pid).count("open model") == 1
        given = daemon.run("everything", {**stolen, "other": 1}).data
        assert given["settings"] == {"size": 2}
        assert {"other", "plain", "awaited", "pool", "model", "task"} <= set(given["given"])
    assert book.words(pid)[2:] == ["open model", "close model", "close pool", "close settings"]
    assert {noted_by for noted_by, _ in book.lines()} == {pid}


def test_each_worker_has_its_own(tmp_path: Path) -> None:
    book = Book(tmp_path, ALL_KINDS)
    with daemon_of(book.target, workers=3, execution_timeout=5) as daemon:
        pids = set(daemon.worker_pids)
        assert {daemon.run("ask", {"n": 0}).data[0] for _ in range(20)} <= pids
        assert sorted(pid for pid, words in book.lines() if words == "open pool") == sorted(pids)
    assert all(book.words(pid)[-1] == "close settings" for pid in pids)


def test_an_action_that_cancels_all_tasks_does_not_close_one(tmp_path: Path) -> None:
    book = Book(tmp_path, ALL_KINDS)
    with daemon_of(book.target, execution_timeout=5) as daemon:
        [pid] = daemon.worker_pids
        assert daemon.run("think").data == ["model", 2]
        daemon.run("cancels_all")
        assert "close model" not in book.words(pid)
        assert daemon.run("think").data == ["model", 2]
    assert "close model" in book.words(pid)


LAZY = """
@provider.resource(lazy=True)
{word}def db():
    note("opening")
    mode = open({flag!r}).read()
    if mode == "refused": raise ConnectionRefusedError("nobody listens")
    if mode == "hangs": {wait}
    yield "open"
    note("closed")

@provider.actions.register(timeout=0.3)
def use(db): return [db, os.getpid()]

@provider.actions.register(timeout=0.3)
{word}def use_as_well(payload, *, db): return [db, os.getpid()]
"""
WORDS = [("", "time.sleep(600)"), ("async ", "await asyncio.sleep(600)")]


@pytest.mark.parametrize("action", ["use", "use_as_well"])
@pytest.mark.parametrize(("word", "wait"), WORDS, ids=["sync", "async"])
def test_a_lazy_one_that_fails_is_that_task_s_error_and_tried_again(
    tmp_path: Path, word: str, wait: str, action: str
) -> None:
    flag = tmp_path / "mode"
    flag.write_text("refused")
    book = Book(tmp_path, LAZY.format(word=word, wait=wait, flag=str(flag)))
    with daemon_of(book.target) as daemon:
        for _ in range(2):
            refused = daemon.run(action, {"db": "mine"})
            assert (refused.status, refused.data["error_type"]) == ("error", "ConnectionRefusedError")
        flag.write_text("hangs")
        assert daemon.run(action).error_code == "TIMEOUT"
        flag.write_text("fine")
        value, pid = eventually(lambda: daemon.run(action).data)
        assert value == "open"
    assert book.words(pid)[-1] == "closed"


@pytest.mark.parametrize(("word", "wait"), WORDS, ids=["sync", "async"])
def test_the_deadline_holds_behind_the_opening(tmp_path: Path, word: str, wait: str) -> None:
    text = f"""
@provider.resource(lazy=True)
{word}def db(): yield 1

@provider.actions.register(timeout=0.3)
def slow(db):
    try: time.sleep(600)
    finally: note("interrupted")
"""
    book = Book(tmp_path, text)
    with daemon_of(book.target, kill_grace=30) as daemon:
        assert daemon.run("slow").error_code == "TIMEOUT"
    assert book.words() == ["interrupted"]


WRONG = {
    "yields twice": ("yield 1; yield 2", True, "yields twice"),
    "never yields": ("return; yield", False, "without a yield"),
}


@pytest.mark.parametrize("word", ["", "async "])
@pytest.mark.parametrize("how", WRONG)
def test_one_that_does_not_yield_once_is_told_of(tmp_path: Path, how: str, word: str) -> None:
    body, serves, reason = WRONG[how]
    text = f"""
@provider.resource
def other():
    yield 1
    note("closed other")

@provider.resource
{word}def odd(other):
    {body}
"""
    book = Book(tmp_path, text)
    with Hub() as hub, book.daemon(hub) as arbd:
        if serves:
            arbd.wait_serving(1)
        else:
            [line, *_] = arbd.wait_event("worker_not_fit")
            assert (line["step"], reason in line["exception"]) == ("resource odd", True)
            book.wait("closed other")
            return
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        [line] = arbd.events("stop_step_failed")
        assert (line["step"], reason in line["exception"]) == ("resource odd", True)
    assert book.words() == ["closed other"]


def test_one_that_fails_to_close_or_hangs_keeps_no_other_open(tmp_path: Path) -> None:
    text = """
@provider.resource
def first():
    yield 1
    note("closed first")

@provider.resource
async def second(first):
    yield 2
    await asyncio.sleep(600)

@provider.resource
def third(second):
    yield 3
    raise OSError("lost")
"""
    book = Book(tmp_path, text)
    with Hub() as hub, book.daemon(hub, worker_stop_timeout=1) as arbd:
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert [line["step"] for line in arbd.events("stop_step_failed")] == ["resource third"]
        assert [line["step"] for line in arbd.events("stop_step_interrupted")] == ["resource second"]
    assert book.words() == ["closed first"]


def test_one_that_fails_to_open_keeps_the_worker_out_of_service(tmp_path: Path) -> None:
    flag = tmp_path / "refused"
    flag.touch()
    text = f"""
@provider.resource
def base():
    yield 1
    note("closed base")

@provider.resource
async def db(base):
    if os.path.exists({str(flag)!r}): raise ConnectionRefusedError("nobody listens")
    yield 2

@provider.actions.register()
def use(db): return db
"""
    book = Book(tmp_path, text)
    with Hub() as hub, book.daemon(hub) as arbd:
        [line, *_] = arbd.wait_event("worker_not_fit")
        assert line["step"] == "resource db"
        book.wait("closed base")
        assert arbd.process.poll() is None
        assert arbd.events("worker_ready") == []
        flag.unlink()
        arbd.wait_serving(1)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


LEAVING = """
import socket, tempfile

def change():
    threading.Thread(target=threading.Event().wait, daemon=True, name="of-the-resource").start()
    os.chdir({here!r})
    os.umask(0o027)
    return [tempfile.TemporaryFile() for _ in range(5)], socket.socketpair()

@provider.resource(lazy={lazy})
def plain():
    kept = change()
    stopping = threading.Event()
    thread = threading.Thread(target=stopping.wait)  # no daemon: it is ended by the resource
    thread.start()
    yield kept
    stopping.set()
    thread.join()
    note("closed plain")

@provider.resource(lazy={lazy})
async def pool():
    kept = change(), asyncio.create_task(asyncio.Event().wait())
    await asyncio.to_thread(time.sleep, 0)
    yield kept
    note("closed pool")

@provider.actions.register()
def use(plain, pool): return [os.getpid(), pool[1].done(), os.getcwd()]

@provider.actions.register()
async def use_async(plain, pool): return [os.getpid(), pool[1].done(), os.getcwd()]

@provider.actions.register(timeout=0.2)
def slow(plain, pool): time.sleep(600)
"""


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_what_one_leaves_in_the_process_is_no_reason_to_replace_the_worker(tmp_path: Path, lazy: bool) -> None:
    book = Book(tmp_path, LEAVING.format(lazy=lazy, here=str(tmp_path)))
    with daemon_of(book.target) as daemon:
        [pid] = daemon.worker_pids
        found = [daemon.run(action).data for action in ("use", "use_async") * 70]
        assert found == [[pid, False, str(tmp_path)]] * 140
        assert book.words() == []
    assert sorted(book.words(pid)) == ["closed plain", "closed pool"]


def test_a_worker_that_was_interrupted_closes_them(tmp_path: Path) -> None:
    book = Book(tmp_path, LEAVING.format(lazy=False, here=str(tmp_path)))
    with daemon_of(book.target) as daemon:
        [pid] = daemon.worker_pids
        assert daemon.run("slow").error_code == "TIMEOUT"
        after = eventually(lambda: (found := daemon.run("use").data) and found[0])
        assert after != pid
        eventually(lambda: sorted(book.words(pid)) == ["closed plain", "closed pool"])


def test_new_code_whose_resource_does_not_open_replaces_nothing(tmp_path: Path) -> None:
    text = "\n@provider.resource\ndef db(): yield 1\n@provider.actions.register()\ndef use(db): return db\n"
    book = Book(tmp_path, text)
    with daemon_of(book.target) as daemon:
        assert daemon.run("use").data == 1
        book.target.write_text(book.head + text.replace("yield 1", "note('tried'); raise OSError; yield"))
        daemon.reload()
        book.wait("tried", 2)
        assert daemon.run("use").data == 1
        book.target.write_text(book.head + text.replace("yield 1", "yield 2"))
        daemon.reload()
        eventually(lambda: daemon.run("use").data == 2)
