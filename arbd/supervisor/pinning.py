"""The CPUs of a daemon: chosen, claimed on this host, and the supervisor moved beside its workers.

    settings, affinity, quota ──> how many workers, how many CPUs each
    a turn on this host ──> what other daemons claim ──> placement ──> claimed ──> pinned
    another number of workers ──> those that are there stay, the others are placed by the same rules

A daemon that does not own its process (``arbd.testing``) neither looks at claims nor makes any: which CPUs its workers
have depends on nothing else that runs here.
"""

from __future__ import annotations

from typing import Final

from arbd.core.placement import Placement, in_words, place
from arbd.host import cpus
from arbd.host.cpu_claim import TURN_S, CpuClaims
from arbd.logs import get_logger
from arbd.settings.table import Settings
from arbd.supervisor.cpu_share import share_of

_TURN_WHILE_SERVING_S: Final = 0.02  # the loop waits for it, and without a turn things go on as well


class Pinning:
    """The CPUs of each worker slot of one daemon: ``slots``, none where they are not pinned."""

    def __init__(self, settings: Settings, claims: CpuClaims, *, owns_process: bool) -> None:
        self._share = share_of(settings)
        self._claims = claims
        self._allowed = cpus.allowed()  # before this process is moved
        self._log = get_logger("arbd.supervisor")
        if self._share.cpus_each < settings.worker_cpus:
            hint = "there are no more"
            self._log.warning("worker_cpus_reduced", asked=settings.worker_cpus, cpus=self._share.cpus_each, hint=hint)
        self._is_pinned = settings.pin
        self._claims_them = settings.pin and owns_process
        self.slots: list[tuple[int, ...]] = [()] * self._share.workers
        if not settings.pin:
            return
        placement = self._place(self._share.workers, (), TURN_S)
        if self._claims_them and not self._move_beside(placement):
            return
        self.slots = placement.workers
        if placement.shared:
            hint = "other daemons on this host have claimed them as well; give each workers and a CPU set"
            self._log.info("cpus_shared", cpus=in_words(placement.shared), hint=hint)

    def workers_of(self, settings: Settings) -> int:
        """How many workers a start with these settings would have."""
        return share_of(settings, self._allowed).workers if settings.workers == "auto" else settings.workers

    def resize(self, workers: int) -> list[tuple[int, ...]]:
        """Choose CPUs for so many workers, and claim those alone; who is there stays where it is."""
        present = self.slots[:workers]
        if not self._is_pinned:
            self.slots = present + [()] * (workers - len(present))
            return self.slots
        placement = self._place(workers, present, _TURN_WHILE_SERVING_S)
        if self._claims_them:
            self._claims.hold_only({cpu for each in placement.workers for cpu in each})
            try:
                cpus.pin_threads(placement.supervisor)
            except OSError as error:
                self._log.warning("supervisor_not_moved", reason=str(error))
        self.slots = placement.workers
        return self.slots

    def _move_beside(self, placement: Placement) -> bool:
        """Move this process beside its workers; where that is forbidden, nobody is pinned."""
        try:
            cpus.pin(placement.supervisor)
        except OSError as error:  # a sandbox may forbid it (systemd: SystemCallFilter=~@resources)
            self._claims.close()
            self._is_pinned = False
            hint = "workers are not pinned either; allow sched_setaffinity, or set pin = false"
            self._log.warning("not_pinned", reason=str(error), hint=hint)
            return False
        return True

    def _place(self, workers: int, present: list[tuple[int, ...]] | tuple[()], within_s: float) -> Placement:
        """Place the workers where no other daemon's are, if there is such a place, and claim those CPUs."""
        if not self._claims_them:
            return self._placed(workers, present, {})
        try:
            with self._claims.turn(within_s):
                counts, held = self._claims.counts(self._allowed), self._claims.held
                others = {cpu: daemons - (cpu in held) for cpu, daemons in counts.items()}
                placement = self._placed(workers, present, others)
                self._claims.claim([cpu for each in placement.workers for cpu in each])
                return placement
        except OSError as error:  # a sandbox may forbid sockets, or there is no descriptor left
            self._log.info("cpus_not_claimed", reason=str(error))
            return self._placed(workers, present, {})

    def _placed(self, workers: int, present: list[tuple[int, ...]] | tuple[()], claimed: dict[int, int]) -> Placement:
        allowed = self._allowed
        return place(workers, allowed, cpus.cores(allowed), self._share.cpus_each, claimed, present)
