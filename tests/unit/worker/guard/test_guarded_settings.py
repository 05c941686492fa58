"""Settings that one changes for the whole process: loggers, the environment as C sees it, decimals, warnings."""

from __future__ import annotations

import decimal
import importlib
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from arbd.host.fork_mark import EVERYBODY
from arbd.worker.guard import guard as guards
from arbd.worker.guard import interpreter, loggers, process
from arbd.worker.guard.guard import Guard
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import watch

A_NAME = "arbd_test.of_an_action"
REPLACED = (
    *((os, name) for name in ("putenv", "unsetenv")),
    *((each, "__setattr__") for each in (logging.Logger, logging.Handler, logging.Manager)),
    *((logging.Filterer, name) for name in ("addFilter", "removeFilter")),
    *((logging, name) for name in ("disable", "basicConfig", "shutdown", "addLevelName")),
    *((logging, name) for name in ("setLogRecordFactory", "setLoggerClass")),
    *((threading, name) for name in ("settrace_all_threads", "setprofile_all_threads") if hasattr(threading, name)),
    *((warnings, name) for name in ("filterwarnings", "simplefilter", "resetwarnings")),
    (warnings.catch_warnings, "__exit__"),
    (threading, "stack_size"),
)


@contextmanager
def plain_lists_afterwards() -> Iterator[None]:
    """Gives loggers their own lists again, which others may hold."""
    lists = [(each, name, vars(each)[name]) for each in loggers._all().values() for name in ("handlers", "filters")]
    yield
    for each, name, plain in lists:
        plain[:] = vars(each)[name]
        vars(each)[name] = plain


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    """The guard of these kinds, armed in this process for the length of a test."""
    with warnings.catch_warnings(), plain_lists_afterwards():
        for owner, name in REPLACED:
            monkeypatch.setattr(owner, name, getattr(owner, name))
        for module in (interpreter, loggers, process):
            module.install()
        about = [
            kind
            for kind in guards.all_kinds()
            if any((owner, name) in REPLACED for owner, name in kind.changed_by)
            or kind.name in ("the environment", "the context of decimals in new threads")
        ]
        for kind in about:
            for owner, name in kind.changed_by:
                watch(owner, name, kind.name)
        guard = Guard(about)
        guard.arm(EVERYBODY)
        yield guard
        NOTICES.disarm()
        NOTICES.adopt, NOTICES.is_as_before = {}, {}
        NOTICES.changed.clear()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Imports a module of this source, as an action would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def imported(source: str) -> None:
        (tmp_path / "imported_by_an_action.py").write_text(source)
        importlib.import_module("imported_by_an_action")

    yield imported
    sys.modules.pop("imported_by_an_action", None)


def seen_by_a_child(name: str) -> str:
    return subprocess.run(["/bin/sh", "-c", f'printf %s "${name}"'], stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize("is_new", [False, True])
def test_a_variable_that_only_c_sees_is_put_back(guard: Guard, monkeypatch: pytest.MonkeyPatch, is_new: bool) -> None:
    guard.rebase()  # pytest has changed some of it since
    if not is_new:
        monkeypatch.setenv("ARBD_TEST_OF_C", "the operator's")
        guard.rebase()
    os.putenv("ARBD_TEST_OF_C", "an action's")
    assert seen_by_a_child("ARBD_TEST_OF_C") == "an action's"
    guard.after("act", "noticed")
    assert seen_by_a_child("ARBD_TEST_OF_C") == ("" if is_new else "the operator's")
    assert guard.found


def test_one_that_c_was_made_not_to_see_is_put_back(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    guard.rebase()  # pytest has changed some of it since
    monkeypatch.setenv("ARBD_TEST_OF_C", "the operator's")
    guard.rebase()
    os.unsetenv("ARBD_TEST_OF_C")
    guard.after("act", "noticed")
    assert seen_by_a_child("ARBD_TEST_OF_C") == "the operator's"


def the_logger() -> logging.Logger:
    return logging.getLogger(A_NAME)


LOGGERS: dict[str, Callable[[], object]] = {
    "level": lambda: the_logger().setLevel(logging.CRITICAL),
    "handler": lambda: the_logger().addHandler(logging.NullHandler()),
    "filter": lambda: the_logger().addFilter(lambda record: False),
    "disabled": lambda: setattr(the_logger(), "disabled", True),
    "propagate": lambda: setattr(the_logger(), "propagate", False),
    "root": lambda: logging.getLogger().setLevel(logging.CRITICAL),
    "all": lambda: logging.disable(),
    "all by attribute": lambda: setattr(logging.getLogger().manager, "disable", logging.CRITICAL),
    "handlers": lambda: the_logger().handlers.append(logging.NullHandler()),
    "filters": lambda: the_logger().filters.extend([logging.Filter("none")]),
    "other handlers": lambda: setattr(the_logger(), "handlers", [logging.NullHandler()]),
}


@pytest.mark.parametrize("how", LOGGERS)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_logger_is_put_back(guard: Guard, how: str, is_known: bool) -> None:
    guard.rebase()  # pytest has changed some of it since
    logging.Logger.manager.loggerDict.pop(A_NAME, None)
    if is_known:
        the_logger().setLevel(logging.DEBUG)
        guard.rebase()
    root = logging.getLogger()
    before = (root.level, list(root.handlers), root.manager.disable)
    LOGGERS[how]()
    assert NOTICES.changed
    guard.after("act", "noticed")
    found = the_logger()
    assert (found.level, found.handlers, found.filters) == (logging.DEBUG if is_known else logging.NOTSET, [], [])
    assert (found.disabled, found.propagate) == (False, True)
    assert (root.level, list(root.handlers), root.manager.disable) == before
    assert found.isEnabledFor(logging.ERROR), "what it remembers of its level is forgotten"


def test_a_logger_that_is_only_made_is_no_change(guard: Guard) -> None:
    guard.rebase()  # pytest has changed some of it since
    logging.Logger.manager.loggerDict.pop(A_NAME, None)
    the_logger()
    assert not NOTICES.changed


def test_a_logger_that_a_module_configures_when_it_is_imported_stays_so(
    guard: Guard, module: Callable[[str], None]
) -> None:
    guard.rebase()  # pytest has changed some of it since
    module(f"import logging\nlogging.getLogger({A_NAME!r}).setLevel('ERROR')")
    guard.after("act", "full")
    assert the_logger().level == logging.ERROR
    the_logger().setLevel(logging.NOTSET)
    guard.rebase()


def test_what_makes_log_records_is_put_back(guard: Guard) -> None:
    guard.rebase()  # pytest has changed some of it since
    before = (logging.getLogRecordFactory(), logging.getLoggerClass())
    logging.setLogRecordFactory(lambda *args, **kwargs: logging.LogRecord(*args, **kwargs))
    logging.setLoggerClass(type("Theirs", (logging.Logger,), {}))
    guard.after("act", "noticed")
    assert (logging.getLogRecordFactory(), logging.getLoggerClass()) == before


def test_the_stack_size_is_put_back(guard: Guard) -> None:
    guard.rebase()  # pytest has changed some of it since
    before = threading.stack_size()
    threading.stack_size(4 << 20)
    guard.after("act", "noticed")
    assert threading.stack_size() == before


CHANGES_OF_DECIMALS: dict[str, Any] = {"prec": 3, "rounding": decimal.ROUND_UP, "Emax": 9, "capitals": 0, "clamp": 1}


def test_the_context_of_decimals_is_put_back(guard: Guard) -> None:
    guard.rebase()  # pytest has changed some of it since
    context = decimal.DefaultContext
    before = repr(context.copy())
    for name, value in CHANGES_OF_DECIMALS.items():
        setattr(context, name, value)
    context.traps[decimal.Inexact] = True
    guard.after("act", "full")
    assert repr(context.copy()) == before
    assert not context.traps[decimal.Inexact]


def ignored(line: int) -> bool:
    return any(each[0] == "ignore" and each[4] == line for each in warnings.filters)


def test_what_a_module_ignores_for_a_while_is_not_adopted(guard: Guard, module: Callable[[str], None]) -> None:
    guard.rebase()  # pytest has changed some of it since
    module("import warnings\nwith warnings.catch_warnings():\n    warnings.filterwarnings('ignore', lineno=77)")
    assert not guard.noticed
    warnings.filterwarnings("always", message="xyz")
    guard.after("act", "noticed")
    assert not ignored(77)


def test_what_a_module_ignores_for_good_stays(guard: Guard, module: Callable[[str], None]) -> None:
    """Also where the action has changed the filters for a while before."""
    guard.rebase()  # pytest has changed some of it since
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
    assert not guard.noticed, "they are as they were"
    module("import warnings\nwarnings.filterwarnings('ignore', lineno=78)")
    guard.after("act", "full")
    assert ignored(78)
    assert not guard.found
