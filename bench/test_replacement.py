"""How long a slot is empty while its worker is replaced, as tasks see it: from the end of the last task of one worker
to the begin of the next task in its successor, which is forked from a zygote with numpy (and scikit-learn, where it is
installed) loaded: p99 <= 15 ms.

The worst case is measured: a worker that may run one task, so no successor is ready before it leaves, and tasks that
always wait. Both stamps are the action's own, so all of it is in there: the answer, the notice, the fork, the start of
the worker, the task on its way.
"""

from __future__ import annotations

import itertools

from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import SMOKE, Figure, Stage, alternate, conclude, rounds

_TASKS = 20 if SMOKE else 60  # in one round
_FORKS = 5 if SMOKE else 20


def test_replacement(benchmark: BenchmarkFixture) -> None:
    with Stage() as stage:
        stage.arbd(
            "replaced", "--workers", "1", protocol="stream", provider="replaced_provider.py", worker_max_tasks="1"
        )

        def gaps() -> list[float]:
            """Milliseconds between the tasks of one worker and the next."""
            results = stage.run("replaced", "stamp", _TASKS)
            runs = sorted((result.response["data"] for result in results), key=lambda run: run[1])
            assert len({pid for pid, _, _ in runs}) == _TASKS
            return [(begin_ns - end_ns) / 1e6 for (_, _, end_ns), (_, begin_ns, _) in itertools.pairwise(runs)]

        def bare() -> list[float]:
            """Milliseconds of bare forks in such a worker."""
            return [result.response["data"] * 1e3 for result in stage.run("replaced", "fork", _FORKS)]

        stage.run("replaced", "stamp", 5)
        samples, forks = alternate(benchmark, rounds(10), gaps, bare)
    empty_ms = list(itertools.chain(*samples))
    figure = Figure("replacement: slot empty, p99", "ms", "at most", 15.0, empty_ms, quantile=0.99)
    bare_ms = sorted(itertools.chain(*forks))
    figure.beside = {
        "bare fork and 1,000 pages, p50 ms": bare_ms[len(bare_ms) // 2],
        "the same, p99 ms": bare_ms[int(len(bare_ms) * 0.99)],
        "p50 ms": figure.at(0.5),
        "p90 ms": figure.at(0.9),
        "most ms": max(empty_ms),
    }
    conclude(benchmark, figure)
