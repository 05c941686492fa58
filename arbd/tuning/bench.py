"""One benchmark from its request to its record: puts the parts of this package together, and ends them together."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import uvloop

from arbd.core.placement import worker_count, worker_cpus
from arbd.errors import ArbdError
from arbd.model.limit_spec import LimitSpec
from arbd.settings.table import Resolved, Settings
from arbd.supervisor.request import zygote_environment
from arbd.tuning import growth, own, plan
from arbd.tuning.bounds import limit_rate
from arbd.tuning.daemon_process import interruptible
from arbd.tuning.machine import facts
from arbd.tuning.measure import OWN_HUB, LoadSpec, daemon_environment, measure
from arbd.tuning.own import Workload
from arbd.tuning.record import OwnTime, Point, Record, Setup
from arbd.tuning.room import room
from arbd.tuning.sweep import Sweep, grows

_OWN_SHARE: Final = 0.5  # of the duration, for the action by itself


class BenchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure. ``asked``: values by dimension, where the usual ones shall not be tried; ``only_protocols``:
    in all other dimensions, only the current value."""

    workload: Workload
    timeout_s: float
    resolved: Resolved
    asked: Mapping[str, Sequence[Any]]
    full: bool
    only_protocols: bool
    duration_s: float
    repeats: int
    limits: Sequence[LimitSpec] = ()


class Bench:
    """One benchmark: ``measure_own``, then ``sweep``; ``record`` at any time after that."""

    def __init__(self, request: BenchRequest, environ: Mapping[str, str]) -> None:
        self._request = request
        self._machine = facts()
        self._load_before = os.getloadavg()[0]
        self.environment = daemon_environment(request.resolved, environ)
        self.own = OwnTime(0, 0.0, 0.0, 0.0)
        self._sweep: Sweep | None = None
        self._is_complete = False
        usable = self._machine.usable_cpus
        self._cpus_each = worker_cpus(request.resolved.settings.worker_cpus, usable)
        current = current_point(request.resolved.settings, usable)
        asked = dict(request.asked)
        if request.only_protocols:
            asked = {name: [getattr(current, name)] for name in plan.DIMENSIONS if name != "protocol"} | asked
        self._space = plan.space(current, asked, worker_count(usable, self._cpus_each))
        #: What the action's rate limits allow, in tasks/s; ``None``: as far as is known, they have no bound.
        self.limit_rate = limit_rate(request.limits, request.workload.action)

    @property
    def baseline(self) -> Point:
        """The point it begins from: the settings of today, or what was asked for."""
        return self._space.baseline

    @property
    def usable_cpus(self) -> int:
        """How many CPUs it may use."""
        return self._machine.usable_cpus

    @property
    def most_runs(self) -> int:
        """How many runs ``sweep`` will make at most."""
        request, usable = self._request, self._machine.usable_cpus
        usual = plan.most_runs(self._space, request.repeats, full=request.full)
        if not self._first():
            return usual
        most = plan.grown(self._space, [10**6 + number for number in range(growth.MOST_REPEATED)])
        first = growth.most_tries(usable, room(0).most)
        return first + max(usual, plan.most_runs(most, request.repeats, full=request.full))

    @property
    def estimate_s(self) -> float:
        """About how long ``sweep`` will take."""
        request, usable = self._request, self._machine.usable_cpus
        first_s = sum(
            plan.run_s(
                msgspec.structs.replace(self._space.baseline, workers=count),
                self.own,
                usable,
                request.duration_s,
                self.limit_rate,
            )
            for count in self._first()
        )
        return first_s + plan.estimate_s(
            self._likely(),
            self.own,
            request.duration_s,
            request.repeats,
            full=request.full,
            cpus=usable,
            limit_rate=self.limit_rate,
        )

    def _first(self) -> dict[int, float]:
        """The numbers of workers that will probably be tried beforehand, with the tasks/s that are expected of them."""
        usable, own, base = self._machine.usable_cpus, self.own, self._space.baseline
        if not grows(self._space, own, usable, self.limit_rate):
            return {}

        def guess(count: int) -> float:
            return plan.guess_rate(msgspec.structs.replace(base, workers=count), own, usable, self.limit_rate)

        return growth.predicted(usable, room(0).most, guess)

    def _likely(self) -> plan.Space:
        """The space in which the repeats will probably be."""
        first = self._first()
        return plan.grown(self._space, growth.worth_repeating(first)) if first else self._space

    def measure_own(self) -> None:
        """Measure the action by itself. Raises ``ActionError`` if it fails: there is nothing more to measure then."""
        request = self._request
        call = own.OwnTimeRequest(request.workload, request.duration_s * _OWN_SHARE, request.timeout_s, os.getpid())
        self.own = own.measure(call, zygote_environment(self.environment, (), self._cpus_each))

    def sweep(self, before: Callable[[Point], None]) -> ArbdError | KeyboardInterrupt | None:
        """Measure all points; ``before`` is told of each. What ended it too early, after every process was stopped."""
        request = self._request
        spec = LoadSpec(request.workload, request.duration_s, self.own.median_s, self.environment)
        self._sweep = Sweep(
            self._space,
            self.own,
            self._machine.usable_cpus,
            repeats=request.repeats,
            full=request.full,
            before=before,
            room=room,
            limit_rate=self.limit_rate,
        )
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(interruptible(self._sweep.run(lambda point, rate: measure(spec, point, rate))))
        except ArbdError as error:
            return error
        except (KeyboardInterrupt, asyncio.CancelledError):
            return KeyboardInterrupt()
        self._is_complete = True
        return None

    def record(self) -> Record:
        """The record of everything that was measured so far."""
        request, workload = self._request, self._request.workload
        return Record(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=self._machine,
            setup=Setup(
                target=workload.target,
                action=workload.action,
                payload_bytes=len(workload.payload),
                payload_sha256=hashlib.sha256(workload.payload + b"\0" + workload.account).hexdigest(),
                duration_s=request.duration_s,
                repeats=request.repeats,
                settings=_operators_own(request.resolved),
            ),
            own=self.own,
            baseline=self._space.baseline,
            current=self._space.current,
            measurements=self._sweep.measurements if self._sweep else [],
            complete=self._is_complete,
            load_before=round(self._load_before, 2),
            bound=self._sweep.bound if self._sweep else "",
        )


def current_point(settings: Settings, cpus: int) -> Point:
    """The point that the settings mean at a hub that speaks both protocols."""
    workers = worker_count(cpus, worker_cpus(settings.worker_cpus, cpus))
    return Point(
        workers=workers if settings.workers == "auto" else settings.workers,
        pin=settings.pin,
        prefetch=settings.prefetch,
        protocol="unary" if settings.hub_protocol == "unary" else "stream",
        links=settings.hub_links,
    )


def _operators_own(resolved: Resolved) -> dict[str, Any]:
    """Settings that somebody has set, without names, places and secrets."""
    left_out = OWN_HUB | {"name"}
    return {
        setting.name: value
        for setting, value, origin in resolved.shown()
        if origin != "default" and setting.name not in left_out
    }
