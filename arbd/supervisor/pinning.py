"""The CPUs of a daemon: chosen, claimed on this host, and the supervisor moved beside its workers.

    settings, affinity, quota ──> how many workers, how many CPUs each
    a turn on this host ──> what other daemons claim ──> placement ──> claimed ──> pinned

A daemon that does not own its process (``arbd.testing``) neither looks at claims nor makes any: which CPUs its workers
have depends on nothing else that runs here.
"""

from __future__ import annotations

from arbd.core.placement import Placement, in_words, place
from arbd.host import cpus
from arbd.host.cpu_claim import CpuClaims
from arbd.logs import get_logger
from arbd.settings.table import Settings
from arbd.supervisor.cpu_share import Share, share_of


def assign(settings: Settings, claims: CpuClaims, *, owns_process: bool) -> list[tuple[int, ...]]:
    """Choose the CPUs of each worker, none where they are not pinned; claim them, move this process beside them."""
    share = share_of(settings)
    log = get_logger("arbd.supervisor")
    if share.cpus_each < settings.worker_cpus:
        log.warning("worker_cpus_reduced", asked=settings.worker_cpus, cpus=share.cpus_each, hint="there are no more")
    unpinned: list[tuple[int, ...]] = [()] * share.workers
    if not settings.pin:
        return unpinned
    if not owns_process:
        return _place(share, {}).workers
    placement = _place_and_claim(share, claims)
    try:
        cpus.pin(placement.supervisor)
    except OSError as error:  # a sandbox may forbid it (systemd: SystemCallFilter=~@resources)
        claims.close()
        hint = "workers are not pinned either; allow sched_setaffinity, or set pin = false"
        log.warning("not_pinned", reason=str(error), hint=hint)
        return unpinned
    if placement.shared:
        hint = "other daemons on this host have claimed them as well; give each workers and a CPU set"
        log.info("cpus_shared", cpus=in_words(placement.shared), hint=hint)
    return placement.workers


def _place_and_claim(share: Share, claims: CpuClaims) -> Placement:
    """Place the workers where no other daemon's are, if there is such a place, and claim those CPUs."""
    try:
        with claims.turn():
            placement = _place(share, claims.counts(cpus.allowed()))
            claims.claim([cpu for each in placement.workers for cpu in each])
            return placement
    except OSError as error:  # a sandbox may forbid sockets, or there is no descriptor left
        get_logger("arbd.supervisor").info("cpus_not_claimed", reason=str(error))
        return _place(share, {})


def _place(share: Share, claimed: dict[int, int]) -> Placement:
    allowed = cpus.allowed()
    return place(share.workers, allowed, cpus.cores(allowed), share.cpus_each, claimed)
