"""Each thing of Python's own state that is changed without a call is seen, and so is that it was put back."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from arbd.worker.guard.python_state import remembered


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((sys, name) for name in ("excepthook", "unraisablehook")),
        (threading, "excepthook"),
        (sys, "path"),
    ],
)
def test_what_is_assigned_is_seen(owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_as_before = remembered()
    assert is_as_before()
    with monkeypatch.context() as changed:
        changed.setattr(owner, name, {"path": ["/other"]}.get(name, print))
        assert not is_as_before()
        assert remembered()()
    assert is_as_before()


def test_what_is_put_into_the_path_is_seen() -> None:
    is_as_before = remembered()
    sys.path.insert(0, "/other")
    try:
        assert not is_as_before()
    finally:
        del sys.path[0]
    assert is_as_before()
