"""A provider that uses one library: ``arbd run bench/libraries/provider.py -- LIBRARY WAY``. The ways to import it:

at the top       the module imports it, as the README advises
warmed           the module has used it once, too
in the action    the first task of each worker imports it
"""

from __future__ import annotations

import os
import random
import sys
import time
from functools import cache
from importlib import import_module
from typing import Any

from arbd import Provider
from bench.libraries.jobs import JOBS, SLEEP_S, Work

name, way = sys.argv[1:3]
provider = Provider(name="libraries", execution_timeout=120)
job = JOBS[name]


@cache
def work() -> Work:
    """The call, made when it is first wanted."""
    return job.make(0)


if way == "at the top":
    for module in job.modules:
        import_module(module)
elif way == "warmed":
    work()()


@provider.actions.register(name="work")
def run() -> dict[str, Any]:
    """One call: what came out, and how long it took inside this action."""
    call = work()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    result = call()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"wall_ns": wall, "cpu_ns": cpu, "result": result, "pid": os.getpid()}


@provider.actions.register(name="draw")
def draw() -> dict[str, float]:
    """A random number of each generator that an author uses without making one."""
    time.sleep(SLEEP_S)
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    drawn = {"random": random.random()}
    if numpy is not None:
        drawn["numpy"] = float(numpy.random())
    if torch is not None:
        drawn["torch"] = float(torch.rand((), dtype=torch.float64))
    return drawn


@provider.actions.register(name="about")
def about() -> dict[str, Any]:
    """This worker: its process, CPUs, threads, and whether it was started by exec."""
    time.sleep(SLEEP_S)
    return {
        "pid": os.getpid(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "threads": len(os.listdir("/proc/self/task")),
        "by_exec": "arbd.worker.zygote" not in sys.orig_argv,
    }
