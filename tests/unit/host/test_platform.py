"""arbd starts on Linux on x86-64, and elsewhere says why not, all at once."""

from __future__ import annotations

import os
import platform
import sys

import pytest

from arbd.errors import ConfigError
from arbd.host.platform import require_supported


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_supported(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    require_supported()


def test_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ConfigError) as caught:
        require_supported()
    assert caught.value.problems == [
        "arbd's queues rely on the store order of x86-64; on aarch64 a task could be read before it is written, "
        "so arbd does not start here"
    ]


def test_an_old_kernel_or_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(ConfigError) as caught:
        require_supported()
    assert caught.value.problems == ["arbd needs Linux 5.3 or newer and a Python built with pidfd_open"]


def test_another_system_and_processor_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(ConfigError) as caught:
        require_supported()
    system, processor = caught.value.problems
    assert system == "arbd needs Linux (pidfd, memfd, eventfd); this is darwin"
    assert "arm64" in processor
