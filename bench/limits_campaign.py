"""``make limits-campaign``: every kind of limit, under every kind of trouble, with 1 to 64 workers. Prints a table.

    python -m bench.limits_campaign [--short] [--json FILE]

Exit code 1 if any start came too early, or a limit was used less than its goal.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from arbd.model.limit_spec import Rates
from bench.limits_rig import Outcome, Plan, together

BUCKET = Rates(requests_per_minute=120_000, burst_size=100)  # 2,000 per second
SLOW_BUCKET = Rates(requests_per_minute=6_000, burst_size=10)
WINDOW = Rates(max_requests=500, window_size=0.5)
SHORT_WINDOW = Rates(max_requests=20, window_size=0.05)
USED = {"even": 0.995, "hot": 0.995, "moving": 0.99}


class Case(msgspec.Struct, frozen=True):
    """A plan and what part of the limit must be used (0: no goal, because there is trouble)."""

    name: str
    plan: Plan
    used: float = 0.0
    daemons: int = 1


def cases(seconds: float, most_workers: int) -> list[Case]:
    """All of them."""
    found = [
        Case(f"{name}, {load}, {workers} workers", Plan(rates, workers, seconds, load), USED[load])
        for name, rates in (("bucket", BUCKET), ("slow bucket", SLOW_BUCKET), ("window", WINDOW))
        for load in USED
        for workers in (4,)
    ]
    sizes = [size for size in (1, 2, 8, 16, 32, 64) if size <= most_workers]
    for name, rates in (("bucket", BUCKET), ("window", WINDOW), ("short window", SHORT_WINDOW)):
        found += [Case(f"{name}, kills, {n} workers", Plan(rates, n, seconds, "even", kills=20)) for n in sizes]
        found.append(Case(f"{name}, stall 5 s", Plan(rates, 4, seconds + 6, "even", stall_s=5.0)))
        found.append(Case(f"{name}, wall-clock jumps", Plan(rates, 4, seconds, "even", clock_jumps=True)))
    found.append(Case("shared window, 2 daemons", Plan(WINDOW, 2, seconds), 0.97, daemons=2))
    found.append(Case("shared window, 2 daemons, kills", Plan(WINDOW, 2, seconds, kills=20), daemons=2))
    found.append(Case("shared window, 2 daemons, stall 5 s", Plan(WINDOW, 2, seconds + 6, stall_s=5.0), daemons=2))
    trouble = Plan(BUCKET, 8, seconds + 6, "moving", kills=20, stall_s=5.0, clock_jumps=True)
    found.append(Case("bucket, everything at once", trouble))
    return found


def run(plan: Plan, daemons: int = 1) -> Outcome:
    """One run in a process of its own, or in several that share the limit. If the plan says so the first of them is
    stopped for a while in the middle."""
    if daemons == 1:
        return _outcome(_begin(plan), plan.stall_s)
    if plan.redis_url:
        return _run_all(plan, daemons)
    with tempfile.TemporaryDirectory(prefix="arbd-limits-") as directory:
        return _run_all(msgspec.structs.replace(plan, shared="campaign", directory=directory), daemons)


def _run_all(plan: Plan, daemons: int) -> Outcome:
    processes = [_begin(plan) for _ in range(daemons)]
    outcomes = [_outcome(process, plan.stall_s if process is processes[0] else 0) for process in processes]
    return together(outcomes, plan.rates)


def _begin(plan: Plan) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.limits_rig", msgspec.json.encode(plan).decode()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)


def _outcome(process: subprocess.Popen[bytes], stall_s: float) -> Outcome:
    if stall_s:
        time.sleep(2.0)
        process.send_signal(signal.SIGSTOP)
        time.sleep(stall_s)
        process.send_signal(signal.SIGCONT)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run ended with status {process.returncode}")
    return msgspec.json.decode(output, type=Outcome)


def main() -> int:
    """Run all cases, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one second each, at most 8 workers")
    parser.add_argument("--json", type=Path, help="write the outcomes here, too")
    parser.add_argument("--only", default="", help="only cases with this in their name")
    options = parser.parse_args()
    chosen = [
        case for case in cases(1.0 if options.short else 10.0, 8 if options.short else 64) if options.only in case.name
    ]
    outcomes: dict[str, Outcome] = {}
    failed = 0
    print(f"{'case':<40} {'starts':>8} {'over':>5} {'used':>8} {'killed':>7} {'questions':>10} {'sup. CPU s':>10}")
    for case in chosen:
        outcome = outcomes[case.name] = run(case.plan, case.daemons)
        bad = outcome.over > 0 or outcome.used < case.used
        failed += bad
        print(
            f"{case.name:<40} {outcome.starts:>8} {outcome.over:>5} {outcome.used:>8.2%} {outcome.killed:>7} "
            f"{outcome.asked:>10} {outcome.supervisor_cpu_s:>10.2f}{'  MISSED' if bad else ''}",
            flush=True,
        )
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
