"""The process `arbd:http`, as the supervisor sees it: started, started again when it ends, told of pages.

    listening ─> start ─> serves ──ends──> a pause that grows ─> start …        close ─> its stream ends ─> it leaves

The supervisor holds the listener, so whoever connects meanwhile waits for the next one. Nothing depends on this
process but who looks at the daemon: whatever becomes of it costs a line in the log.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from arbd.control import http_boot
from arbd.core.backoff import Backoff
from arbd.host import http_listener, parcels
from arbd.host.notify import Notifier
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.settings.secrets import without_secrets
from arbd.settings.table import Settings

_RESTART_MIN_S: Final = 0.1
_RESTART_MAX_S: Final = 5.0  # shorter than it takes a probe to give up three times
_STEADY_S: Final = 30.0  # one that has run for so long did not fail at its start
_TELL_AGAIN_S: Final = 0.02
_END_TIMEOUT_S: Final = 1.0


class HttpProcess:
    """The process that serves on ``listener``, which belongs to this from now on; ``page``: the descriptor of the
    metrics page. ``settings``: those in force."""

    def __init__(self, listener: socket.socket, page: int, settings: Callable[[], Settings]) -> None:
        self._listener = listener
        self._page = page
        self._settings = settings
        self._log = get_logger("arbd.http")
        self._loop = asyncio.get_running_loop()
        self._restart = Backoff(_RESTART_MIN_S, _RESTART_MAX_S, jitter=float)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._started_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pages: dict[tuple[str, int], int] = {}
        self._untold: deque[tuple[str, int]] = deque()  # pages of which the process has not heard
        self._telling: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def address(self) -> str:
        """Where it listens, as it stands in a URL."""
        return http_listener.shown(self._listener)

    @property
    def pid(self) -> int:
        """The number of its process; 0: there is none now."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; where that fails, it is tried again later."""
        self._timer = None
        settings = self._settings()
        boot = http_boot.HttpBoot(
            self._listener.getsockname()[0], settings.log_level, settings.log_format, settings.log_silent
        )
        try:
            self._process, self._control = http_boot.start(
                boot, _environment(settings), self._page, self._listener.fileno()
            )
            self._started_at = time.monotonic()
            self._loop.add_reader(self._control, self._on_end)
            self._untold = deque(self._pages)
            self._tell_pages()
        except OSError as error:
            note(self._log, "error", "http_not_started", reason=str(error), hint="it is tried again")
            self._drop()
            self._start_later()

    def add_page(self, kind: str, key: int, fd: int) -> None:
        """Have one more page read; ``fd`` stays the caller's, and open until ``remove_page``."""
        self._pages[kind, key] = fd
        self._untold.append((kind, key))
        if self._telling is None:
            self._tell_pages()

    def _tell_pages(self) -> None:
        """Tell of pages, as many as the socket takes now: of a thousand workers there are more than it can hold."""
        self._telling = None
        while self._untold and self._control is not None:
            page = self._untold[0]
            if page in self._pages and not self._tell(http_boot.PageAdded(*page), (self._pages[page],)):
                self._telling = self._loop.call_later(_TELL_AGAIN_S, self._tell_pages)
                return
            self._untold.popleft()

    def remove_page(self, kind: str, key: int) -> None:
        """Have a page read no more."""
        if self._pages.pop((kind, key), None) is not None:
            self._tell(http_boot.PageRemoved(kind, key))

    def _tell(self, message: http_boot.Message, descriptors: tuple[int, ...] = ()) -> bool:
        """Tell the process; ``False``: there is no room for it now. One that cannot be told at all would show what is
        wrong, so another takes its place."""
        if self._control is None:
            return True
        try:
            http_boot.tell(self._control, message, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass  # its end is on its way to `_on_end`
        except OSError as error:
            if error.errno in parcels.NOT_NOW and descriptors:
                return False
            assert self._process is not None
            self._process.kill()
        return True

    def _on_end(self) -> None:
        """Its end of the stream is closed: it says nothing else."""
        process = self._process
        self._drop()
        if time.monotonic() - self._started_at > _STEADY_S:
            self._restart.reset()
        status = None if process is None else process.returncode
        note(self._log, "error", "http_lost", status=status, hint="it is started again")
        self._start_later()

    def _drop(self) -> None:
        process, self._process = self._process, None
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._control is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None
        if process is not None:
            process.kill()  # it can serve nobody of ours any more
            _wait(process)

    def _start_later(self) -> None:
        if not self._is_closed:
            self._timer = self._loop.call_later(self._restart.next_s(), self.start)

    def close(self) -> None:
        """End the process, and listen no more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._drop()
        self._listener.close()


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:  # the kernel has it: whoever reaps what is left takes it
        pass


def _environment(settings: Settings) -> dict[str, str]:
    environment = without_secrets(os.environ, settings)
    Notifier.remove_from(environment)  # systemd is told about the daemon by the supervisor alone
    return environment
