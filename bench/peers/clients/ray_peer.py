"""Ray on this machine alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, WorkerCrashedError

from bench.peers import actions
from bench.peers.actions import DIRECTORY
from bench.peers.base import WORKERS, Peer, TaskFailed


class RayPeer(Peer):
    title = "Ray, local"
    packages = ("ray",)
    settings = (
        "`ray.init(num_cpus=2)` without dashboard, plain tasks, `max_retries=0`; results in its object store, "
        "awaited with `ray.get`; references dropped where not awaited. No time limit of its own: the caller "
        "ends a task with `ray.cancel(force=True)`"
    )
    can_pause = False  # its head talks with the caller while tasks are sent

    def start(self, place: Path) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its makers
        variables = {DIRECTORY: os.environ[DIRECTORY], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
            _temp_dir=str(place / "ray"),
            runtime_env={"env_vars": variables},
        )
        names = ("quote", "tally", "burn", "meet", "hang_python", "hang_c")
        self._tasks = {name: ray.remote(max_retries=0)(getattr(actions, name)) for name in names}

    def stop(self) -> None:
        ray.shutdown()

    def send(self, action: str, arguments: Mapping[str, Any], count: int = 1) -> Any:
        task = self._tasks[action]
        return [task.remote(**arguments) for _ in range(count)]

    def collect(self, ticket: Any, timeout_s: float) -> None:
        try:
            ray.get(ticket, timeout=timeout_s)
        except GetTimeoutError as error:
            raise TimeoutError("no result in time") from error
        except (RayError, WorkerCrashedError) as error:
            raise TaskFailed(repr(error)) from error

    def expire(self, ticket: Any) -> None:
        ray.cancel(ticket[0], force=True)
