"""A worker that leaves does what the interpreter's shutdown would have done, in a bounded time; the zygote does not."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from daemon_support import Hub, daemon_of, is_alive
from life_support import Book, Start, segments
from zygote_support import WorkerEnds, ZygoteProcess

from arbd.ipc import frame

BOTH = pytest.mark.parametrize("start", ["fork", "exec"])

AT_EXIT = """
atexit.register(note, "at import")

@provider.actions.register()
def register():
    atexit.register(note, "in an action")
    return os.getpid()

@provider.on_worker_stop
def stop(): note("stop hook")
"""


@BOTH
def test_atexit_functions_run_in_workers_and_never_in_the_zygote(tmp_path: Path, start: Start) -> None:
    book = Book(tmp_path, AT_EXIT, start)
    with daemon_of(book.target, workers=2) as daemon:
        pids = daemon.worker_pids
        registered = daemon.run("register").data
    assert {pid for pid, _ in book.lines()} == set(pids)
    for pid in pids:
        assert book.words(pid) == ["stop hook", *(["in an action"] if pid == registered else []), "at import"]


FILES = """
import csv, gzip, io
plain = open({plain!r}, "{mode}")
plain.write("header\\n")
binary = open({binary!r}, "ab", buffering=1 << 20)

@provider.actions.register()
def write():
    plain.write("row\\n")
    binary.write(b"bytes")
    global mine, zipped, rows
    mine = open({mine!r}, "w")
    rows = csv.writer(mine)
    rows.writerow([1, 2])
    zipped = gzip.open({zipped!r}, "wt")
    zipped.write("text")
"""


@BOTH
def test_files_that_nobody_has_flushed_are_written(tmp_path: Path, start: Start) -> None:
    import gzip

    paths = {name: str(tmp_path / name) for name in ("plain", "binary", "mine", "zipped")}
    book = Book(tmp_path, FILES.format(**paths, mode="w" if start == "exec" else "a"), start)
    with daemon_of(book.target, workers=1 if start == "exec" else 3) as daemon:
        assert daemon.run("write").status == "success"
    found = Path(paths["plain"]).read_text()
    assert (found.count("header"), found.count("row")) == (1, 1)
    assert Path(paths["binary"]).read_bytes() == b"bytes"
    assert Path(paths["mine"]).read_text() == "1,2\n"
    with gzip.open(paths["zipped"], "rt") as zipped:
        assert zipped.read() == "text"


SEGMENT = """
from multiprocessing import shared_memory
kept = []

@provider.actions.register()
def make():
    kept.append(shared_memory.SharedMemory(create=True, size=4096))
    return kept[-1].name
"""
AT_IMPORT = "early = shared_memory.SharedMemory(create=True, size=4096)\n"


@BOTH
@pytest.mark.parametrize("at_import", ["", AT_IMPORT], ids=["in the action", "at import, too"])
def test_shared_memory_is_unlinked(tmp_path: Path, start: Start, at_import: str) -> None:
    before = segments()
    book = Book(tmp_path, SEGMENT + at_import, start)
    with daemon_of(book.target) as daemon:
        names = {daemon.run("make").data for _ in range(2)}
        assert names <= segments()
    assert segments() <= before


THREADS = """
@provider.actions.register()
def start(seconds):
    def work():
        time.sleep(seconds)
        note("thread done")
    threading.Thread(target=work).start()

@provider.actions.register()
async def in_executor(seconds):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)

@provider.actions.register()
def own_executor(seconds):
    from concurrent.futures import ThreadPoolExecutor
    global pool
    pool = ThreadPoolExecutor(2)
    pool.submit(time.sleep, 0).result()
    pool.submit(time.sleep, seconds)

atexit.register(note, "atexit")
"""


def test_threads_are_waited_for(tmp_path: Path) -> None:
    book = Book(tmp_path, THREADS)
    with daemon_of(book.target) as daemon:
        for action, seconds in (("start", 0.3), ("own_executor", 0.1), ("in_executor", 0.1)):
            assert daemon.run(action, {"seconds": seconds}).status == "success"
        began = time.monotonic()
    [waited] = [pid for pid, words in book.lines() if words == "thread done"]  # it may have been replaced after that
    assert book.words(waited) == ["thread done", "atexit"]
    assert time.monotonic() - began < 4  # those of executors, which wait for more work, were told


@pytest.mark.parametrize("action", ["start", "in_executor", "own_executor"])
def test_but_not_for_ever(tmp_path: Path, action: str) -> None:
    book = Book(tmp_path, THREADS)
    with daemon_of(book.target, worker_stop_timeout=1) as daemon:
        [pid] = daemon.worker_pids
        daemon.run(action, {"seconds": 600})
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert book.words(pid) == ["atexit"]
    assert not is_alive(pid)


HANGING = {
    "atexit": "atexit.register(time.sleep, 600)",
    "resource db": "provider.resource(name='db')(blocked)",
}


@pytest.mark.parametrize("step", HANGING)
def test_a_step_that_cannot_be_ended_ends_with_the_process_and_is_named(tmp_path: Path, step: str) -> None:
    text = """
def blocked():
    yield 1
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    time.sleep(600)
"""
    book = Book(tmp_path, text + HANGING[step])
    with Hub() as hub, book.daemon(hub, worker_stop_timeout=0.5) as arbd:
        arbd.wait_serving(1)
        began = time.monotonic()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert time.monotonic() - began < 10
        [line] = arbd.events("stop_timeout")
        assert (line["step"], line["seconds"]) == (step, 0.5)


def test_what_is_left_on_the_event_loop_is_cancelled_and_generators_are_closed(tmp_path: Path) -> None:
    text = """
async def numbers():
    try:
        yield 1
    finally:
        note("generator closed")

@provider.resource
async def background():
    async def beat():
        try: await asyncio.Event().wait()
        finally: note("cancelled")
    global task, generator
    task = asyncio.create_task(beat())
    generator = numbers()
    await anext(generator)
"""
    book = Book(tmp_path, text)
    with daemon_of(book.target):
        pass
    assert book.words() == ["cancelled", "generator closed"]


# -- what is the zygote's -------------------------------------------------------------------------------------------


def worker_of(zygote: ZygoteProcess, worker_id: int) -> WorkerEnds:
    """A worker that serves."""
    ends = zygote.spawn(worker_id)
    zygote.spawned(worker_id)
    [ready] = ends.results(1)
    assert ready.seq == frame.READY_SEQ
    return ends


INHERITED = """
import tempfile
from arbd import Provider
provider = Provider(name="p")
directory = tempfile.TemporaryDirectory(dir={here!r}, prefix="dir-")
file = tempfile.NamedTemporaryFile(dir={here!r}, prefix="file-")
"""


def test_what_the_zygote_has_made_outlives_a_worker_and_not_the_zygote(tmp_path: Path) -> None:
    with ZygoteProcess(tmp_path, INHERITED.format(here=str(tmp_path))) as zygote:
        zygote.configure(stop_timeout=5.0)
        worker_of(zygote, 1).leave()
        assert zygote.exited().status == 0
        assert len([*tmp_path.glob("dir-*"), *tmp_path.glob("file-*")]) == 2
        worker_of(zygote, 2)
    assert [*tmp_path.glob("dir-*"), *tmp_path.glob("file-*")] == []


def test_one_that_is_not_fit_says_why_and_closes_what_was_open(tmp_path: Path) -> None:
    text = """
import atexit, os
from arbd import Provider
provider = Provider(name="p")
os.chdir({here!r})

@provider.resource
def fine():
    yield 1
    open("closed", "w").close()

@provider.resource
async def broken(fine): raise ConnectionRefusedError("nobody listens")

atexit.register(lambda: open("atexit", "w").close())
"""
    from arbd.errors import EXIT_UNFIT
    from arbd.ipc import notice

    with ZygoteProcess(tmp_path, text.format(here=str(tmp_path))) as zygote:
        zygote.configure()
        ends = zygote.spawn(1)
        zygote.spawned(1)
        [said] = ends.results(1)
        assert said.notice
        assert notice.decode(said.body) == notice.Unfit("resource broken: ConnectionRefusedError: nobody listens")
        assert zygote.exited().status == EXIT_UNFIT
    assert (tmp_path / "closed").exists()
    assert (tmp_path / "atexit").exists()
