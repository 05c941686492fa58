"""The head and the foot of a benchmark run: facts about the machine, and the table of figures."""

from __future__ import annotations

from typing import Any

import pytest

from bench import harness


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A figure takes up to a minute where a test may take seconds; the project's limit per test is for those."""
    for item in items:
        item.add_marker(pytest.mark.timeout(600))


def pytest_report_header() -> str:
    return "machine: " + ", ".join(f"{name} {value}" for name, value in harness.facts().items())


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    machine_info.update(harness.facts())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not harness.FIGURES:
        return
    terminalreporter.section("figures: median (quartiles) unless another quantile is named")
    for figure in harness.FIGURES:
        verdict = "met" if figure.is_within(1) else "MISSED"
        low, high = figure.at(0.25), figure.at(0.75)
        terminalreporter.write_line(
            f"{figure.what:<58} {figure.value:9.3g} {figure.unit:<3} ({low:.3g} .. {high:.3g}, n={len(figure.samples)})"
            f"   {figure.kind} {figure.goal:g}: {verdict}"
        )
        for name, value in figure.beside.items():
            terminalreporter.write_line(f"    {name:<54} {value:9.4g}")
