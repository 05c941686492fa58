"""The stacks of this process name what each of its threads is in; without a descriptor they say why there are none."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from arbd.host import own_stacks


def test_every_thread_is_there() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        text = own_stacks.read()
    finally:
        go.set()
        thread.join()
    assert "in test_every_thread_is_there" in text
    assert "in wait" in text


def test_without_a_descriptor_they_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> int:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(os, "memfd_create", fails)
    assert own_stacks.read() == "no stacks: " + os.strerror(24)
