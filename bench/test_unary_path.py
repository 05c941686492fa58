"""Trivial tasks through a unary hub: at least 0.9 of a bare grpc.aio loop with 32 calls in flight, which polls and
answers the same hub and runs nothing; and 2.5 times a loop that does one thing at a time. Beside that stands how many
times as fast the loop with 32 is: it fills both cores, so it is about the limit."""

from __future__ import annotations

from statistics import median

from pytest_benchmark.fixture import BenchmarkFixture

from bench.harness import SMOKE, Figure, Stage, alternate, conclude, cpu_s, ratios, rounds

_TASKS = 600 if SMOKE else 2_000


def test_unary_path(benchmark: BenchmarkFixture) -> None:
    with Stage() as stage:
        daemon = stage.arbd("arbd", protocol="unary")
        bare = stage.bare("loop", 32)
        stage.bare("in-turn", 1)
        for provider in ("arbd", "loop", "in-turn"):
            stage.run(provider, "nothing", 300)
        cpu_us: list[float] = []
        bare_cpu_us: list[float] = []

        def loop_rate() -> float:
            before = cpu_s(bare.pid)
            rate = stage.rate("loop", "nothing", _TASKS)
            bare_cpu_us.append((cpu_s(bare.pid) - before) / _TASKS * 1e6)
            return rate

        def arbd_rate() -> float:
            before, results = cpu_s(daemon.pid), stage.unary_results()
            rate = stage.rate("arbd", "nothing", _TASKS)
            cpu_us.append((cpu_s(daemon.pid) - before) / _TASKS * 1e6)
            assert stage.unary_results() - results == _TASKS
            return rate

        arbd, loop, in_turn = alternate(
            benchmark,
            rounds(15),
            arbd_rate,
            loop_rate,
            lambda: stage.rate("in-turn", "nothing", _TASKS // 3),
        )
    figure = Figure("unary hub: arbd / bare loop, 32 calls in flight", "x", "at least", 0.9, ratios(arbd, loop))
    figure.beside = {
        "arbd, tasks/s": median(arbd),
        "bare loop, 32 in flight, tasks/s": median(loop),
        "bare loop, one at a time, tasks/s": median(in_turn),
        "arbd, CPU of all its processes, µs/task": median(cpu_us),
        "bare loop, 32 in flight, its CPU, µs/task": median(bare_cpu_us),
    }
    conclude(benchmark, figure)
    figure = Figure("unary hub: arbd / one thing at a time", "x", "at least", 2.5, ratios(arbd, in_turn))
    figure.beside = {"bare loop, 32 in flight / one at a time": median(ratios(loop, in_turn))}
    conclude(benchmark, figure)
