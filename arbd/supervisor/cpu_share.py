"""How many workers a daemon has, and how many CPUs each of them: what its settings come to on this machine.

Apart from ``pinning``, because ``arbd config`` shows it, and a light command loads no logging.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from arbd.core.placement import usable_cpus, worker_count, worker_cpus
from arbd.host import cpus
from arbd.settings.table import Settings


class Share(NamedTuple):
    """How many workers there are, and how many CPUs, and so threads, each of them has."""

    workers: int
    cpus_each: int


def share_of(settings: Settings, allowed: Collection[int] | None = None) -> Share:
    """What the settings come to on this machine. ``allowed``: its CPUs, unless told those of this process."""
    usable = usable_cpus(cpus.allowed() if allowed is None else allowed, cpus.quota())
    each = worker_cpus(settings.worker_cpus, usable)
    return Share(worker_count(usable, each) if settings.workers == "auto" else settings.workers, each)
