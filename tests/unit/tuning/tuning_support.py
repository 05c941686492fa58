"""Made-up measurements: what a point did, in tasks/s, without a process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arbd.tuning.record import Machine, Measurement, OwnTime, Point, Record, Sample, Setup

BASE = Point(workers=2, pin=True, prefetch=256, protocol="stream")
OWN = OwnTime(calls=100, median_s=0.005, p99_s=0.006, cpu_s=0.004)
MACHINE = Machine(cpu="Z80", cpus=4, usable_cpus=2, kernel="6.1", python="3.11.7", packages={"arbd": "0.1.0"})
SETUP = Setup(target="prices.py", action="total", payload_bytes=9, payload_sha256="ab" * 32, duration_s=2.0, repeats=5)


def sample(rate: float, *, failed: int = 0, idle_s: float = 0.0005) -> Sample:
    return Sample(
        tasks=1000,
        window_s=1000 / rate,
        supervisor_cpu_s=8e-6,
        workers_cpu_s=6e-6,
        busy=0.5,
        idle_p50_s=idle_s,
        idle_p99_s=2 * idle_s,
        loaded_p50_s=0.005,
        loaded_p99_s=0.01,
        failed=failed,
        failure="error: no" if failed else "",
    )


def measured(rates: Mapping[Point, Iterable[float]]) -> list[Measurement]:
    return [Measurement(point, [sample(rate) for rate in those]) for point, those in rates.items()]


def record(rates: Mapping[Point, Iterable[float]]) -> Record:
    return Record(
        created_at="2026-11-21T07:00:00+00:00",
        machine=MACHINE,
        setup=SETUP,
        own=OWN,
        baseline=BASE,
        measurements=measured(rates),
    )
