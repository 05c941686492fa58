"""Which records of logging the bridge shows: those that no handler of an author's does; and it never stands in the way
of how logging is configured."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from arbd.logs import standard
from arbd.logs.streams import ACTION_LOGGER


class Bridge(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class Theirs(Bridge):
    pass


class Collector(Bridge):
    __module__ = "opentelemetry.sdk._logs"


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """A root of its own, without what pytest has at the real one."""
    root = logging.RootLogger(logging.WARNING)
    manager = logging.Manager(root)
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging.Logger, "root", root)
    monkeypatch.setattr(logging.Logger, "manager", manager)
    monkeypatch.setattr(logging.RootLogger, "manager", manager)
    return root


@pytest.fixture
def bridge(root: logging.Logger) -> Iterator[Bridge]:
    standard.detach()
    bridge = Bridge()
    standard.attach(bridge, logging.INFO)
    yield bridge
    standard.detach()


def test_records_that_nobody_shows(bridge: Bridge, root: logging.Logger) -> None:
    logging.getLogger("lib").addHandler(logging.NullHandler())
    logging.getLogger("lib.part").info("one")
    logging.info("two")
    logging.debug("below the level")
    assert bridge.texts == ["one", "two"]
    assert root.level == logging.INFO


def test_records_that_a_handler_of_the_authors_shows(bridge: Bridge, root: logging.Logger) -> None:
    theirs, named = Theirs(), Theirs()
    logging.getLogger("named").addHandler(named)
    logging.getLogger("named.part").error("to the named")
    logging.getLogger("other").error("to the bridge")
    root.addHandler(theirs)
    logging.getLogger("other").error("to the root's")
    assert (named.texts, theirs.texts, bridge.texts) == (["to the named"], ["to the root's"], ["to the bridge"])


def test_handlers_that_only_collect(bridge: Bridge, root: logging.Logger) -> None:
    collector = Collector()
    root.addHandler(collector)
    logging.error("both")
    assert (collector.texts, bridge.texts) == (["both"], ["both"])


def test_a_logger_that_tells_nobody_else(bridge: Bridge, root: logging.Logger) -> None:
    quiet = logging.getLogger("quiet")
    quiet.propagate = False
    quiet.info("as lastResort: not shown")
    quiet.warning("as lastResort: shown")
    quiet.addHandler(logging.NullHandler())
    quiet.error("silenced")
    assert bridge.texts == ["as lastResort: shown"]


def test_the_configuration_of_an_author_works_as_ever(bridge: Bridge, root: logging.Logger) -> None:
    root.handlers.clear()  # what pytest has put there
    theirs = Theirs()
    logging.basicConfig(level=logging.DEBUG, handlers=[theirs])
    standard.attach(bridge, logging.INFO)
    assert (root.handlers, root.level) == ([theirs], logging.DEBUG)
    logging.debug("one")
    logging.basicConfig(handlers=[second := Theirs()], force=True)
    logging.debug("two")
    logging.config.dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": []}})
    logging.error("nobody's")
    assert (theirs.texts, second.texts, bridge.texts) == (["one"], ["two"], ["nobody's"])
    assert root.handlers == []  # whoever logs has not configured anything
    logging.basicConfig()
    assert len(root.handlers) == 1


def test_the_level_follows_ours_until_the_author_sets_one(bridge: Bridge, root: logging.Logger) -> None:
    standard.attach(bridge, logging.ERROR)
    assert root.level == logging.ERROR
    root.setLevel(logging.DEBUG)
    standard.attach(bridge, logging.INFO)
    assert root.level == logging.DEBUG


def test_attaching_again_shows_each_record_once_whoever_hooks_in_between(
    bridge: Bridge, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = logging.Logger.callHandlers
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda self, record: ours(self, record))  # as Sentry does
    standard.attach(bridge, logging.INFO)
    logging.error("once")
    assert bridge.texts == ["once"]


def test_what_an_action_raised_is_shown_whatever_is_configured(bridge: Bridge, root: logging.Logger) -> None:
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("a full disk")

    theirs = Theirs()
    root.addHandler(theirs)
    root.setLevel(logging.CRITICAL)
    logging.getLogger(ACTION_LOGGER).disabled = True
    logging.disable(logging.CRITICAL)
    try:
        standard.report(logging.ERROR, "action failed", None, {"task_id": "1"})
        root.handlers.insert(0, Raising())
        with pytest.raises(OSError, match="a full disk"):
            standard.report(logging.ERROR, "action failed", None, {"task_id": "1"})
    finally:
        logging.disable(logging.NOTSET)
    assert bridge.texts == ["action failed"] * 2
    assert theirs.texts == ["action failed"]


def test_a_record_as_an_event() -> None:
    record = logging.makeLogRecord({"msg": "%d left", "args": ("three",), "queue": "q", "name": "app"})
    assert standard.event_of(record) == {
        "event": "%d left (its arguments do not fit)",
        "queue": "q",
        "exc_info": None,
        "stack_info": False,
    }
