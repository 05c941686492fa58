"""The record of a benchmark: what ``arbd bench --out`` writes and ``--compare`` reads. Pure.

Times are in seconds, CPU times in seconds per task. No payload is ever in here, only its size and digest; nor the name
of the machine. A new field has a default, so that older files can still be read.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

FORMAT: Final = 1

Protocol = Literal["stream", "unary"]


class Point(msgspec.Struct, frozen=True):
    """One combination of settings. ``links``: link processes of the unary protocol (``hub.links``), 0 for none."""

    workers: int
    pin: bool
    prefetch: int
    protocol: Protocol
    links: int = 0


class Sample(msgspec.Struct, frozen=True):
    """One run at a point. ``tasks`` were done within ``window_s``, from a queue that never was empty.

    ``supervisor_cpu_s``, ``workers_cpu_s`` and ``links_cpu_s``: CPU per task, of all workers or links together;
    ``busy``: the part of the workers' time spent in tasks. ``idle_*``: latency of one task at a time, from submission
    to verdict, by the hub's clock; ``loaded_*``: under load, from hand-out to verdict. ``failed`` counts tasks without
    success in all of it; ``failure`` is what the first of them was answered. ``others_cpus``: how many CPUs other
    processes used meanwhile; ``hub_busy``: the part of one CPU that the hub used; ``limit``: the rate limit that was at
    its bound, in words; ``worker_bytes``: the memory that a worker had for itself.
    """

    tasks: int
    window_s: float
    supervisor_cpu_s: float
    workers_cpu_s: float
    busy: float
    idle_p50_s: float
    idle_p99_s: float
    loaded_p50_s: float
    loaded_p99_s: float
    failed: int = 0
    failure: str = ""
    links_cpu_s: float = 0.0
    others_cpus: float | None = None
    hub_busy: float = 0.0
    limit: str = ""
    worker_bytes: int = 0

    @property
    def tasks_per_s(self) -> float:
        """Throughput, in tasks/s."""
        return self.tasks / self.window_s


class Measurement(msgspec.Struct, frozen=True):
    """A point, and its samples in the order in which they were taken."""

    point: Point
    samples: list[Sample]

    @property
    def failed(self) -> int:
        """How many tasks did not succeed."""
        return sum(sample.failed for sample in self.samples)


class OwnTime(msgspec.Struct, frozen=True):
    """The handler by itself, without arbd around it: how long a call takes, and its CPU time on average."""

    calls: int
    median_s: float
    p99_s: float
    cpu_s: float


class Machine(msgspec.Struct, frozen=True):
    """The machine of a benchmark. ``usable_cpus``: by affinity and cgroup quota."""

    cpu: str
    cpus: int
    usable_cpus: int
    kernel: str
    python: str
    packages: dict[str, str]


class Setup(msgspec.Struct, frozen=True):
    """What a benchmark ran. ``settings``: those of the operator that are not their defaults, secrets left out."""

    target: str
    action: str
    payload_bytes: int
    payload_sha256: str
    duration_s: float
    repeats: int
    settings: dict[str, str | int | float | bool | None] = {}


class Record(msgspec.Struct, frozen=True):
    """One benchmark. ``baseline`` is the point it began from; ``complete``: it was not cut short; ``load_before``: the
    load average of the last minute before it began; ``current``: the point that the settings of today mean, the
    baseline unless other values were asked for (then it was not measured)."""

    created_at: str  # ISO 8601, UTC
    machine: Machine
    setup: Setup
    own: OwnTime
    baseline: Point
    measurements: list[Measurement]
    complete: bool = True
    load_before: float = 0.0
    current: Point | None = None
    format: int = FORMAT


class RecordError(ValueError):
    """Bytes that are no record; the message says why."""


def decode(data: bytes) -> Record:
    """A record from its JSON. Raises ``RecordError``."""
    try:
        record = msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not written by `arbd bench --out`: {error}") from error
    if record.format != FORMAT:
        raise RecordError(f"its format is {record.format}, this arbd reads {FORMAT}; measure again")
    samples = [sample for measurement in record.measurements for sample in measurement.samples]
    if not all(sample.window_s > 0 and math.isfinite(sample.tasks_per_s) for sample in samples):
        raise RecordError("it has a sample that took no time")
    return record


def encode(record: Record) -> bytes:
    """A record as JSON, fit to be read and put under version control."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
