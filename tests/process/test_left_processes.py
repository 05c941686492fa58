"""A process of ``multiprocessing`` that an action has left costs its worker's end no more than a moment."""

from __future__ import annotations

import time
from pathlib import Path

from daemon_support import at_best, daemon_of, eventually, is_alive, responses

MODULE = """
import atexit, multiprocessing, time
from arbd import Provider

provider = Provider(name="processes")
context = multiprocessing.get_context("fork")

@provider.actions.register(name="leave")
def leave():
    process = context.Process(target=time.sleep, args=(60,))
    process.start()
    return process.pid
"""


def test_the_worker_ends_soon_and_the_process_with_it(tmp_path: Path) -> None:
    target = tmp_path / "processes.py"
    target.write_text(MODULE)

    def ends_soon() -> None:
        with daemon_of(target) as daemon:
            [left] = responses(daemon, [daemon.submit("leave")])
            assert is_alive(left.data)
            begin = time.monotonic()
        assert time.monotonic() - begin < 2.5
        eventually(lambda: not is_alive(left.data))

    at_best(ends_soon)
