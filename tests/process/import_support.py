"""Providers that do something while they are imported, written by the test, and what is told of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbd.model.description import Description, Leftover
from arbd.supervisor.describe import describe

HEAD = "import os\nfrom arbd import Provider\nprovider = Provider(name='p', execution_timeout=20)\n"
PID = "\n@provider.actions.register(name='pid')\ndef pid(): return os.getpid()\n"
#: What makes workers start by exec.
THREAD = "\nimport threading\nthreading.Thread(target=threading.Event().wait, name='left', daemon=True).start()\n"


def written(directory: Path, text: str, name: str = "left.py") -> Path:
    """A provider's file with this at its module top."""
    target = directory / name
    target.write_text(HEAD + text)
    return target


def described(directory: Path, text: str) -> Description:
    """What a zygote says of such a provider."""
    return describe(str(written(directory, text)), [], os.environ)


def leftovers(directory: Path, text: str) -> dict[str, Leftover]:
    """What it has left, by kind."""
    return {leftover.kind: leftover for leftover in described(directory, text).leftovers}


@contextmanager
def echo_server() -> Iterator[str]:
    """A server that answers each line by itself, from a thread of its own for each connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection, connection.makefile("rwb", 0) as stream:
                for line in stream:
                    stream.write(line)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield str(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
