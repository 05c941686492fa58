"""The process of shared monitors, as the zygote starts, reaps and restarts it.

Its monitors start over when it is started again, as they do when the code is loaded again. Where it cannot be forked,
that is tried again later, and workers that ask meanwhile are hung up on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from arbd import logs
from arbd.author.provider import Provider
from arbd.errors import EXIT_UNEXPECTED, RegistrationError
from arbd.host import process_title, procs, strays
from arbd.worker.limits.monitor_client import redirect
from arbd.worker.limits.monitor_server import find, listen, serve

_RESTART_PAUSE_S: Final = 0.2  # one that ends at once is started a few times a second
_LONGEST_PAUSE_S: Final = 2.0


class MonitorProcess:
    """The process that answers for shared monitors; there is none where the provider has no such monitors.

    ``pid`` and ``pidfd`` are of the process; ``pidfd`` is -1 while there is none. Raises ``RegistrationError`` if it
    cannot be forked, because the author's module has started threads.
    """

    def __init__(self, provider: Provider, *, threads: Sequence[str]) -> None:
        self._monitors = find(provider)
        self._listener = listen() if self._monitors else None
        self._start_at: float | None = None  # None: it runs, or is not wanted
        self._pause_s = _RESTART_PAUSE_S
        self.pid = 0
        self.pidfd = -1
        if self._monitors and threads:
            raise RegistrationError(
                f"{type(self._monitors[0]).__name__} says shared = True, so it is asked in a process that is forked; "
                f"but the module starts threads while it is imported ({', '.join(threads)}), which forbids that"
            )

    def want(self) -> None:
        """Allow it to be started from now on."""
        if self._listener is not None and self.pidfd < 0:
            self._start_at = time.monotonic()

    def due_in_s(self) -> float | None:
        """Seconds until ``start`` should be called; ``None``: not at all."""
        return None if self._start_at is None else max(0.0, self._start_at - time.monotonic())

    def start(self, before: Callable[[], None]) -> bool:
        """Fork it; ``before`` is called in the child first. ``False``: that failed; ``due_in_s`` tells when to
        retry."""
        assert self._listener is not None
        try:
            self.pid, self.pidfd = procs.fork(lambda: self._run(before))
        except OSError as exc:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._start_at = time.monotonic() + self._pause_s
            logs.get_logger("arbd.limits").error(
                "shared_monitors_not_started", reason=exc.strerror or str(exc), retry_in=self._pause_s
            )
            self._refuse_waiting()
            return False
        self._start_at = None
        self._pause_s = _RESTART_PAUSE_S
        return True

    def _run(self, before: Callable[[], None]) -> NoReturn:
        """Serve in the child; never returns."""
        assert self._listener is not None
        logs.set_role("limits")
        try:
            before()
            strays.ignore(logs.get_logger("arbd.limits"))
            process_title.set_title("arbd:limits")
            serve(self._listener, self._monitors)
        except BaseException as error:
            logs.get_logger("arbd.limits").critical("shared_monitors_failed", exc_info=error)
        finally:
            os._exit(EXIT_UNEXPECTED)

    def _refuse_waiting(self) -> None:
        """Hang up on workers that ask now, so that their tasks are answered: no process will."""
        assert self._listener is not None
        self._listener.setblocking(False)
        try:
            while True:
                self._listener.accept()[0].close()
        except OSError:
            pass

    def reap(self, reap: Callable[[int], int]) -> None:
        """Reap the process, which has ended, by this function, and have it started again in a moment."""
        status = reap(self.pid)
        os.close(self.pidfd)
        self.pidfd = -1
        self._start_at = time.monotonic() + _RESTART_PAUSE_S
        logs.get_logger("arbd.limits").error("shared_monitors_ended", status=status)

    def close(self) -> None:
        """Kill the process."""
        if self.pidfd >= 0:
            procs.kill(self.pidfd)  # it may not have made its group yet
            procs.kill_group(self.pid)

    def redirect_monitors(self) -> None:
        """Have the monitors in this worker ask the process; called when a worker starts."""
        if self._listener is not None:
            redirect(self._monitors, self._listener.getsockname())
            self._listener.close()
