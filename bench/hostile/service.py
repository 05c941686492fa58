"""A server that answers one request after the other on each connection, as Redis and databases do.

    request   ID DELAY_MS\n        reply   ID\n   after that delay

Whoever gives up in the middle of a reply, and keeps the connection, gets it as the answer to the next request.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path


async def serve(path: Path) -> asyncio.Server:
    """Listen at a path."""
    return await asyncio.start_unix_server(_answer, path)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            name, delay_ms = line.split()
            writer.write(name[: len(name) // 2])  # the reply comes in two parts
            await asyncio.sleep(int(delay_ms) / 1000)
            writer.write(name[len(name) // 2 :] + b"\n")
    except (ConnectionError, ValueError, asyncio.CancelledError):
        pass  # who asked has gone, perhaps in the middle of a request; or the campaign has ended
    finally:
        writer.close()


class Client:
    """A connection to it, as simple clients are written."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._replies = self._socket.makefile("rb")

    def ask(self, name: str, delay_ms: int = 0) -> str:
        """Send a request and wait for its reply."""
        self._socket.sendall(f"{name} {delay_ms}\n".encode())
        return self._replies.readline().decode().strip()
