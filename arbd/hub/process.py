"""An embedded hub in a process of its own, for tests and benchmarks that must not share an interpreter with it.

parent: HubProcess ──argv: options as JSON──> child: python -m arbd.hub.process
                   <──stdout: its address────        serves until stdin is closed, so it never outlives the parent
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import TracebackType
from typing import Any, Final

import msgspec
import uvloop

from arbd.errors import HubError
from arbd.host import process_state
from arbd.hub.server import HubOptions, serve

_STOP_TIMEOUT_S: Final = 5.0


class HubProcess:
    """A hub in a child process that listens on ``address``, as a context manager: ``with HubProcess(hold_s=1) as
    hub:``.

    Options as in ``HubOptions``. ``process`` is the child, for tests that stop or kill it. Raises ``HubError`` if it
    does not start.
    """

    def __init__(self, **options: Any) -> None:
        argv = [sys.executable, "-P", "-m", "arbd.hub.process", msgspec.json.encode(HubOptions(**options)).decode()]
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent alone; the end of stdin tells the child
        )
        assert self.process.stdout is not None
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
    sys.exit(uvloop.run(_serve_until_stdin_ends(msgspec.json.decode(sys.argv[1], type=HubOptions))))
