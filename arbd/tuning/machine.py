"""The machine, as far as the figures depend on it. Not its name."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from arbd.core.placement import usable_cpus
from arbd.host import cpus
from arbd.tuning.record import Machine

_PACKAGES: Final = ("arbd", "grpcio", "msgspec", "protobuf", "uvloop")
_CPUINFO: Final = Path("/proc/cpuinfo")


def facts() -> Machine:
    """The facts about this machine that are written beside the figures."""
    return Machine(
        cpu=_cpu_model(),
        cpus=os.cpu_count() or 1,
        usable_cpus=usable_cpus(cpus.allowed(), cpus.quota()),
        kernel=platform.release(),
        python=platform.python_version(),
        packages={package: version_of(package) for package in _PACKAGES},
    )


def _cpu_model() -> str:
    lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def version_of(package: str) -> str:
    """The version of an installed package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
