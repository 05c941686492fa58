"""A limit over Redis that several daemons share: no start too early, how much of it is used, what Redis has to do.

    python -m bench.limits_redis [--seconds S]

Starts a Redis-protocol server of its own on a unix socket (``bench.redis_server``). Each process is the supervisor of a
rig (``bench.limits_rig``) with a worker that tries as often as it can. All starts of all processes are checked
together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

import redis

from arbd.model.limit_spec import Rates
from bench.limits_campaign import run
from bench.limits_rig import Plan
from bench.redis_server import redis_server

DAEMONS: Final = 4
WINDOWS: Final = {
    "100 in 0.5 s": Rates(max_requests=100, window_size=0.5),
    "1,000 in 1 s": Rates(max_requests=1000, window_size=1.0),
    "20,000 in 1 s": Rates(max_requests=20_000, window_size=1.0),
}


def script_calls(url: str) -> int:
    """How often the script has run."""
    with redis.Redis.from_url(url) as client:
        stats: dict[str, Any] = client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


def sustained(starts: Sequence[int], rates: Rates) -> float:
    """The part of a window that is used over whole windows: from the first start to the last that has a multiple of
    ``max_requests`` before it. (Where everybody is greedy, starts come in bursts, one each window: a count between two
    moments would depend on whether a burst more falls between them.)
    """
    assert rates.max_requests is not None
    assert rates.window_size is not None
    windows = (len(starts) - 1) // rates.max_requests
    return windows * rates.window_size * 1e9 / (starts[windows * rates.max_requests] - starts[0])


def main() -> int:
    """Run, print the table; exit code 1 if a start came too early or less than 97 % was used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    seconds = parser.parse_args().seconds
    failed = False
    print(f"{DAEMONS} daemons: {'limit':<16} {'starts':>8} {'over':>5} {'used':>8} {'calls of Redis per start':>25}")
    for name, rates in WINDOWS.items():
        with redis_server() as server:
            outcome = run(Plan(rates, 1, seconds, redis_url=server.url), DAEMONS)
            calls = script_calls(server.url)
        used = sustained(outcome.trace, rates)
        failed |= outcome.over > 0 or used < 0.97
        print(f"           {name:<16} {outcome.starts:>8} {outcome.over:>5} {used:>8.2%}", end="")
        print(f" {calls / max(1, outcome.starts):>25.3f}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
