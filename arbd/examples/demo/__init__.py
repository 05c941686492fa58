"""``arbd demo``: a hub, the daemon and a few hundred real calculations on this machine, measured.

    sample     call some of the jobs here, one after the other     -> how long one process alone would take
    session    send all of them through a hub and ``arbd run``     -> answers, times, how busy the CPUs were
    report     put both together                                   -> tables, or JSON

Heavy imports (gRPC, rich, the rates) happen inside ``main``, so that the command line can name this module cheaply.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from arbd.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, ArbdError
from arbd.printable import printable

if TYPE_CHECKING:
    from arbd.examples.demo.jobs import DemoJob
    from arbd.examples.demo.report import Report, SampledCall

_SAMPLE_SIZE: Final = 20


def main(tasks: int = 300, workers: str = "auto", json: bool = False) -> int:
    """Run the demo and print its report, as tables or as JSON; return an exit code.

    ``workers`` is what ``arbd run --workers`` takes. Fails, with a message on stderr, if the daemon does not work,
    if any task fails, or if the extra ``examples`` is not installed. An interrupt stops every process first.
    """
    try:
        report = _run(tasks, workers)
    except ArbdError as error:
        print(f"arbd demo: {printable(str(error))}", file=sys.stderr)
        return EXIT_FAILURE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("arbd demo: interrupted; the daemon and the hub are stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    if json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        from arbd.examples.demo.screen import print_report

        print_report(report)
    return EXIT_OK if report.succeeded == report.tasks and not report.sample_mismatches else EXIT_FAILURE


def _run(tasks: int, workers: str) -> Report:
    from arbd.cli._progress import ProgressLine
    from arbd.examples.demo.jobs import build_jobs
    from arbd.examples.demo.report import choose_sample, make_report
    from arbd.examples.demo.session import run_session
    from arbd.examples.fx_risk import RATES
    from arbd.tuning.daemon_process import interruptible

    portfolios, jobs = build_jobs(tasks, RATES)
    chosen = choose_sample(jobs, _SAMPLE_SIZE)
    with ProgressLine(len(chosen), "one process, a sample", shows_rate=True) as line:
        samples = [_call_here(job, line.advance) for job in chosen]
    with ProgressLine(len(jobs), "arbd", shows_rate=True) as line:
        session = asyncio.run(interruptible(run_session(jobs, workers, line.advance)))
    return make_report(
        portfolios,
        session.answers,
        samples,
        ready_s=session.ready_s,
        elapsed_s=session.elapsed_s,
        load=session.load,
    )


def _call_here(job: DemoJob, on_done: Callable[[], None]) -> SampledCall:
    """Run a job in this process: the bare function, without hub, schema and time limit."""
    from arbd.examples import fx_risk
    from arbd.examples.demo.report import SampledCall

    function = fx_risk.historical_var if job.action == "historical_var" else fx_risk.monte_carlo_var
    started_at = time.perf_counter()
    data = function(job.payload)
    elapsed_s = time.perf_counter() - started_at
    on_done()
    return SampledCall(job=job, data=data, seconds=elapsed_s)
