"""A thread that the import leaves is told by what it runs, or by the library and the import that have started it."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
from descriptor_support import no_free_descriptor, with_reserve

from arbd.worker.fork_safety import threads
from arbd.worker.fork_safety.threads import Blame, ImportWatch, ThreadFacts, thread_ids, told, told_all


@contextmanager
def running(**options: object) -> Iterator[threading.Thread]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(30,), **options)  # type: ignore[arg-type] # by name
    thread.start()
    try:
        yield thread
    finally:
        end.set()
        thread.join()


class Process:
    """Threads and modules of a process that is imagined."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids = {1}
        self._patch = monkeypatch
        monkeypatch.setattr(threads, "thread_ids", lambda: set(self.ids))

    def module(self, name: str, *, loading: bool, extension: bool = False) -> None:
        module = ModuleType(name)
        origin = f"/site/{name}{EXTENSION_SUFFIXES[0]}" if extension else f"/site/{name}.py"
        module.__spec__ = ModuleSpec(name, None, origin=origin)
        module.__spec__._initializing = loading  # type: ignore[attr-defined] # as the import system does
        self._patch.setitem(sys.modules, name, module)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


class TestWho:
    def test_the_module_that_is_being_loaded(self, process: Process) -> None:
        with ImportWatch("app.py") as watch:
            watch.find_spec("one")
            process.module("one", loading=True)
            watch.find_spec("one.inner")
            process.module("one.inner", loading=False)
            process.ids.add(2)
            watch.find_spec("two")
        assert watch.started_by == {2: Blame("one")}

    def test_a_module_in_c_is_named_as_well(self, process: Process) -> None:
        with ImportWatch("app.py") as watch:
            watch.find_spec("fast")
            process.module("fast", loading=False, extension=True)
            process.ids.add(2)
            watch.find_spec("next")
        assert watch.started_by == {2: Blame("app.py", "fast")}
        assert watch.started_by[2].told(native=True) == "fast, or of app.py after it"
        assert watch.started_by[2].told(native=False) == "app.py"

    def test_the_target_itself_after_its_last_import(self, process: Process) -> None:
        with ImportWatch("app.py") as watch:
            process.ids.add(2)
        assert watch.started_by == {2: Blame("app.py")}

    def test_nobody_where_nothing_was_started(self, process: Process) -> None:
        with ImportWatch("app.py") as watch:
            watch.find_spec("one")
        assert watch.started_by == {}


def test_the_watch_finds_no_module_and_leaves_nothing_behind() -> None:
    before = list(sys.meta_path)
    with ImportWatch("app.py") as watch:
        assert sys.meta_path[0] is watch
        assert watch.find_spec("anything") is None
    assert sys.meta_path == before


def test_a_module_that_clears_the_finders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with ImportWatch("app.py"):
        del sys.meta_path[0]


def test_a_thread_of_python_is_told_by_what_it_runs() -> None:
    with running(name="worker-bee") as thread:
        assert thread.native_id is not None
        found = [facts for facts in threads.left({thread.native_id: Blame("app.py")}) if facts.name == "worker-bee"]
    assert found == [ThreadFacts("worker-bee", "threading.Event.wait", "app.py")]
    assert told(found[0], "arbd:zygote") == "thread worker-bee (threading.Event.wait), started by the import of app.py"


def test_a_class_of_threads_is_told() -> None:
    class Ticker(threading.Thread):
        pass

    assert threads.what_it_runs(Ticker()) == f"{__name__}.test_a_class_of_threads_is_told.<locals>.Ticker"


def test_the_name_of_the_process_is_nobody_s() -> None:
    facts = ThreadFacts("arbd:zygote", library="/site/torch.libs/libgomp.so.1", started_by="torch")
    text = told(facts, "arbd:zygote")
    assert "arbd:zygote" not in text
    assert text.startswith("a native thread without a name of torch.libs/libgomp.so.1 (OpenMP (GNU)), started by")


def test_those_that_are_alike_are_counted() -> None:
    assert told_all([ThreadFacts("a"), ThreadFacts("b"), ThreadFacts("a")], "p") == ["2 times thread a", "thread b"]


def test_one_that_has_ended_meanwhile_is_none(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([{1, 2**22 + 1}, {1}])
    monkeypatch.setattr(threads, "thread_ids", lambda: next(seen))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert threads.left({}) == []


def test_a_watch_that_cannot_look_fails_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module holds every descriptor: that is told once it is loaded."""
    watch = ImportWatch("app.py")

    def no_descriptor() -> set[int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with watch:
        monkeypatch.setattr(threads, "thread_ids", no_descriptor)
        assert watch.find_spec("one") is None
    assert watch.started_by == {}
    assert watch not in sys.meta_path


@with_reserve()
def test_threads_are_found_without_a_free_descriptor() -> None:
    with no_free_descriptor(), running() as thread:
        assert {os.getpid(), thread.native_id} <= thread_ids()


@pytest.mark.parametrize(("looks", "told_of"), [(3, 0), (10**6, 1)])
def test_one_that_ends_in_a_moment_is_none(looks: int, told_of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``join`` has returned, and the kernel has not let go of the thread."""
    left, now, gone = itertools.count(), itertools.count(step=0.01), 2**22 + 1
    monkeypatch.setattr(threads, "thread_ids", lambda: {1, gone} if next(left) < looks else {1})
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: next(now), sleep=lambda _: None))
    assert len(threads.left({})) == told_of
    assert next(left) < 50, "it is a moment"
