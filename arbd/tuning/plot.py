"""A benchmark as a picture: throughput, latency and CPU per task, over the number of workers, for each protocol.

matplotlib is an extra (``pip install 'arbd[plot]'``); it draws into memory here, no display is needed. Only points
with the baseline's pinning, prefetch and links are drawn: a line connects what differs in workers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import msgspec

from arbd.errors import ConfigError
from arbd.tuning.record import Measurement, Record, Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".png", ".svg")
_COLOURS: Final = {"stream": "#1b6ca8", "unary": "#c8553d"}
_SIZE_INCHES: Final = (13.0, 4.6)
_DPI: Final = 150
_LEAST_STEP: Final = 1.2  # between two numbers of workers that are both written there
_FEW_WORKERS: Final = 12  # beyond that, doublings get the same distance


def require() -> None:
    """Raises ``ConfigError`` if matplotlib is not there: before minutes are spent on measuring."""
    if find_spec("matplotlib") is None:
        raise ConfigError(["--plot needs matplotlib; install it with: pip install 'arbd[plot]'"])


def draw(record: Record, base: str) -> list[Path]:
    """Write BASE.png and BASE.svg; their paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    rates, latencies, cpu = figure.subplots(1, 3)
    for protocol in sorted({found.point.protocol for found in record.measurements}):
        line = [found for found in record.measurements if found.point.protocol == protocol and _is_plain(found, record)]
        line.sort(key=lambda found: found.point.workers)
        if line:
            _draw_rates(rates, line)
            _draw_latencies(latencies, line)
            _draw_cpu(cpu, line)
    workers = sorted({found.point.workers for found in record.measurements})
    _label(rates, "Throughput from a full queue", "tasks/s (median, least to most)", workers)
    _label(latencies, "Latency, one task at a time", "µs (median of p50 and p99)", workers, log=True)
    _label(cpu, "CPU per task under load", "µs", workers, log=True)
    figure.suptitle(_title(record), fontsize=10)
    paths = [Path(base + suffix) for suffix in SUFFIXES]
    for path in paths:
        figure.savefig(path, dpi=_DPI)
    return paths


def _is_plain(found: Measurement, record: Record) -> bool:
    base = record.baseline
    plain = msgspec.structs.replace(base, workers=found.point.workers, protocol=found.point.protocol)
    links = base.links if found.point.protocol == "unary" else 0
    return found.point == msgspec.structs.replace(plain, links=links)


def _draw_rates(axes: Axes, line: Sequence[Measurement]) -> None:
    rates = [[sample.tasks_per_s for sample in found.samples] for found in line]
    middle = [median(each) for each in rates]
    below = [at - min(each) for at, each in zip(middle, rates, strict=True)]
    above = [max(each) - at for at, each in zip(middle, rates, strict=True)]
    name = line[0].point.protocol
    axes.errorbar(_workers(line), middle, (below, above), marker="o", capsize=4, color=_COLOURS[name], label=name)


def _draw_latencies(axes: Axes, line: Sequence[Measurement]) -> None:
    name = line[0].point.protocol
    axes.plot(_workers(line), _us(line, "idle_p50_s"), marker="o", color=_COLOURS[name], label=f"{name}, p50")
    axes.plot(_workers(line), _us(line, "idle_p99_s"), "--", marker="^", color=_COLOURS[name], label=f"{name}, p99")


def _draw_cpu(axes: Axes, line: Sequence[Measurement]) -> None:
    name = line[0].point.protocol
    supervisor, workers = _us(line, "supervisor_cpu_s"), _us(line, "workers_cpu_s")
    axes.plot(_workers(line), supervisor, marker="o", color=_COLOURS[name], label=f"{name}, supervisor")
    axes.plot(_workers(line), workers, "--", marker="^", color=_COLOURS[name], label=f"{name}, all workers")


def _workers(line: Sequence[Measurement]) -> list[int]:
    return [found.point.workers for found in line]


def _us(line: Sequence[Measurement], field: str) -> list[float]:
    return [1e6 * median(_field(found.samples, field)) for found in line]


def _field(samples: Sequence[Sample], field: str) -> list[float]:
    return [getattr(sample, field) for sample in samples]


def _label(axes: Axes, title: str, unit: str, workers: Sequence[int], *, log: bool = False) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("workers")
    axes.set_ylabel(unit)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize=7)
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)  # room for a marker at the top
        axes.yaxis.set_major_formatter("{x:,.0f}")
    if is_wide := workers[-1] > _FEW_WORKERS:
        axes.set_xscale("log", base=2)
    # Where doublings have the same distance, 65 would be written over 64.
    before = [0, *workers]
    crowded = [is_wide and count < _LEAST_STEP * last for last, count in zip(before, workers, strict=False)]
    axes.set_xticks(workers, ["" if near else str(count) for near, count in zip(crowded, workers, strict=True)])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.15)
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)


def _title(record: Record) -> str:
    machine, setup = record.machine, record.setup
    return (
        f"arbd {machine.packages.get('arbd', '')}, action {setup.action}, {setup.payload_bytes} bytes of payload; "
        f"{machine.usable_cpus} x {machine.cpu}, Python {machine.python}; {record.created_at[:10]}"
    )
