"""An embedded hub in a process of its own, for tests and benchmarks that must not share an interpreter with it.

parent: HubProcess ──stdin: options as JSON──> child: python -m arbd.hub.process
                   <──stdout: its address─────        serves until stdin is closed, so it never outlives the parent

Not in its arguments: tokens and keys are among the options, and arguments are shown to every user of the machine.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import msgspec
import uvloop

from arbd.errors import HubError
from arbd.host import process_state, secrecy
from arbd.hub.server import HubOptions, serve

_STOP_TIMEOUT_S: Final = 5.0


class HubProcess:
    """A hub in a child process that listens on ``address``, as a context manager: ``with HubProcess(hold_s=1) as
    hub:``.

    Options as in ``HubOptions``. ``process`` is the child, for tests that stop or kill it. Raises ``HubError`` if it
    does not start.
    """

    def __init__(self, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "arbd.hub.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent alone; the end of stdin tells the child
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already, and says why below
            self.process.stdin.write(msgspec.json.encode(HubOptions(**options)).decode() + "\n")
            self.process.stdin.flush()
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            self.stop()
            raise HubError("UNAVAILABLE", f"the hub's process ended with exit code {self.process.returncode}")

    def stop(self) -> None:
        """Have the child end, by force if it does not."""
        try:
            self.process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def __enter__(self) -> HubProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def _serve_until_stdin_ends(options: HubOptions) -> int:
    should_exit = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), should_exit.set)
    return await serve(options, should_exit=should_exit, on_ready=lambda address: print(address, flush=True))


if __name__ == "__main__":
    process_state.establish()
    secrecy.seclude()
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=HubOptions)
    sys.exit(uvloop.run(_serve_until_stdin_ends(told)))
