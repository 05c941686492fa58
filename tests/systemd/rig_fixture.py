"""The fixture of a real systemd, one for all tests of a process; where pytest-xdist runs files side by side, each of
its processes has its own. A module takes it by ``pytest_plugins = ["rig_fixture"]``, and has all its tests use it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from rig_support import Rig, why_not


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """A systemd with arbd's units. Where none can be booted the tests are skipped, loudly; they fail if
    ``TESTS_REQUIRE_SYSTEMD`` is set."""
    if reason := why_not():
        if os.environ.get("TESTS_REQUIRE_SYSTEMD"):
            pytest.fail(f"no systemd can be booted, and TESTS_REQUIRE_SYSTEMD is set: {reason}")
        pytest.skip(f"NOTHING IS TESTED UNDER A REAL SYSTEMD: {reason}")
    booted = Rig()
    try:
        booted.install()
        yield booted
        assert booted.power_off(), "it did not power off"
    finally:
        booted.close()
