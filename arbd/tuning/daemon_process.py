"""A daemon as a child of this process: started, watched while something is done with it, ended. For the demo and the
benchmark command, which measure one.

    start ──> answers ──> during(run) ──> the outcome of ``run``, or DaemonError as soon as the daemon is gone
      └─────────── however the block ends ──────────> stopped, and waited for

Not the daemon (``arbd.supervisor``). Its output goes to a file that has no name; the last lines of it are in every
``DaemonError``. It is the leader of a session of its own, so that Ctrl-C reaches this process alone.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any, Final, TypeVar

from arbd.errors import ArbdError

T = TypeVar("T")

STOP_TIMEOUT_S: Final = 5.0
_LOG_TAIL_LINES: Final = 12


class DaemonError(ArbdError):
    """The daemon did not do what it was started for; the message holds what it logged last."""


class DaemonProcess:
    """A running daemon, from ``daemon_process``."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[str]) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log

    async def during(self, run: Coroutine[Any, Any, T], timeout: float) -> T:
        """The outcome of ``run``; raises ``DaemonError`` if the daemon ends first, or the time does."""
        try:
            return await self._unless_it_ends(run, timeout)
        except DaemonError as error:
            last_lines = tail(self._log, "The daemon's last log lines:")
            raise DaemonError(f"{error}{last_lines}") from None

    def kill(self) -> None:
        """Kill the daemon. Its workers end with it."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self, timeout: float) -> None:
        """Terminate the daemon; kill it if it has not ended after ``timeout`` seconds. None of its workers outlives
        it."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(timeout):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:  # also when a second Ctrl-C cut the wait short
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _unless_it_ends(self, run: Coroutine[Any, Any, T], timeout: float) -> T:
        running = asyncio.create_task(run)
        ended = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait({running, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
            if ended.done():
                raise DaemonError(f"the daemon ended with exit code {ended.result()}")
            raise DaemonError(f"the tasks were not done after {timeout:.0f} s")
        finally:
            running.cancel()
            ended.cancel()
            await asyncio.gather(running, ended, return_exceptions=True)


def tail(log: IO[str], *headings: str) -> str:
    """The last lines of a log, below the headings, for the end of a message; empty if it has none."""
    log.seek(0)
    lines = log.read().splitlines()[-_LOG_TAIL_LINES:]
    return "".join(f"\n  {line}" for line in (*headings, *lines)) if lines else ""


async def interruptible(coroutine: Coroutine[Any, Any, T]) -> T:
    """The outcome of a coroutine that SIGTERM cancels, as Ctrl-C does by itself: so that every process is stopped."""
    running = asyncio.create_task(coroutine)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@asynccontextmanager
async def daemon_process(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[DaemonProcess]:
    """Start ``command``; it has ended when the block has been left, whatever left it."""
    with tempfile.TemporaryFile("w+") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        daemon = DaemonProcess(process, log)
        try:
            yield daemon
        finally:
            await daemon.stop(STOP_TIMEOUT_S)
