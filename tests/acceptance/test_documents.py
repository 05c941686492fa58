"""The documents tell the truth: their files are saved, their commands are run in order, their Python runs.

Each page is read in a directory of its own, in which ``prices.py`` of the front page and the files of the page lie. A
page that asks a daemon without starting one asks the one that all such pages share.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pytest
from documents import PAGES, ROOT, Block, blocks, commands

from arbd import Provider
from arbd.author.provider import describe
from arbd.cli._options import LOCAL_HUB
from arbd.testing import Response, run_action

#: Set-up from a clone: what .ci/run and the Makefile do before any test can run.
_SETUP: Final = re.compile(r"make |python3 -m venv |\.venv/bin/")
_STAYS: Final = re.compile(r"(?:\w+=\S+ )?arbd (dev|run|hub) ")
_ASKS: Final = re.compile(
    r"arbd (status|top|limits|submit|cancel|drain|pause|resume|scale|replace|reload|log-level|events) "
)
_TOKEN: Final = re.compile(r"PROVIDER_AUTH_TOKEN=(\S+)")
_READY: Final = {"dev": b"hub_connected", "run": b"hub_connected", "hub": b"listening"}
_READY_TIMEOUT_S: Final = 20.0
_COMMAND_TIMEOUT_S: Final = 60.0
_SIDE_BY_SIDE: Final = 3

Reading = Future[None]

_RUN: Final = {page: [line for line in commands(page) if not _SETUP.match(line)] for page in PAGES}
_EXAMPLES: Final = [
    pytest.param(block, id=f"{page}:{block.file or number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"))
    if not block.file.startswith(("test_", "conftest"))
]


class Place:
    """Where a page is read: a directory, a hub's address, and what its commands have left running.

    The address stands in for the one that the pages show, which may be somebody else's on this machine.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.runtime_directory = directory
        self._running: list[subprocess.Popen[bytes]] = []
        save(directory, blocks("README.md", "python")[0]._replace(file="prices.py"))

    @property
    def environ(self) -> dict[str, str]:
        """The caller's environment without settings, and with this interpreter's commands first."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(("ARBD_", "PROVIDER_"))}
        path = f"{Path(sys.executable).parent}:{others['PATH']}"
        return others | {
            "PATH": path,
            "HUB_GRPC_URL": self.address,
            "RUNTIME_DIRECTORY": str(self.runtime_directory),
        }

    def run(self, command: str) -> None:
        """Run a command to its end, or until it is ready if it is one that stays."""
        stays = _STAYS.match(command)
        command = command.replace(LOCAL_HUB, self.address).replace("arbd dev ", f"arbd dev --listen {self.address} ")
        if stays:
            self._start(command, _READY[stays[1]])
            return
        process = self._popen(command, subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=_COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the shell and what it started
            pytest.fail(f"{command} takes longer than {_COMMAND_TIMEOUT_S:g} s\n{process.communicate()[0].decode()}")
        assert process.returncode == 0, f"{command}\n{output.decode()}"
        token = _TOKEN.match(command)
        assert token is None or token[1].encode() not in output

    def _popen(self, command: str, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _start(self, command: str, ready: bytes) -> None:
        log = self.directory / f"{len(self._running)}.log"
        with log.open("wb") as output:
            process = self._popen(f"exec env {command}", output)
        self._running.append(process)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while ready not in log.read_bytes():
            assert process.poll() is None, f"{command}\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{command}\n{log.read_text()}"
            time.sleep(0.02)

    def close(self) -> None:
        """End what runs, the last one first."""
        for process in reversed(self._running):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(20)


def save(directory: Path, block: Block) -> None:
    (directory / block.file).write_text(block.text, encoding="utf-8")


def read(page: str, place: Place, company: Place) -> None:
    """Run everything on a page, in the order and in the company in which it is shown."""
    try:
        for block in blocks(page, "python"):
            if block.file:
                save(place.directory, block)
        starts_one = any(_STAYS.match(command) for command in _RUN[page])
        if not starts_one and any(_ASKS.match(command) for command in _RUN[page]):
            place.address, place.runtime_directory = company.address, company.runtime_directory
        for command in _RUN[page]:
            place.run(command)
    finally:
        place.close()


@pytest.fixture(scope="module")
def readings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reading]]:
    """The pages of this run, read side by side: most of it is waiting for processes to start."""
    company = Place(tmp_path_factory.mktemp("company"))
    items = [item for item in request.session.items if item.getparent(pytest.Module) is request.node]
    params = [item.callspec.params for item in items if hasattr(item, "callspec")]
    pages = [each["page"] for each in params if "page" in each]
    try:
        company.run("arbd dev prices.py")  # the daemon that pages ask which start none
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
            yield {page: threads.submit(read, page, Place(tmp_path_factory.mktemp("page")), company) for page in pages}
    finally:
        company.close()


@pytest.mark.parametrize("page", [page for page in PAGES if _RUN[page]])
def test_every_command_succeeds(page: str, readings: dict[str, Reading]) -> None:
    readings[page].result()


@pytest.mark.parametrize("block", _EXAMPLES)
def test_examples_run(block: Block) -> None:
    """What is no test runs by itself, and what providers it makes can be told to a supervisor."""
    names: dict[str, Any] = {"__name__": "an_example"}
    exec(compile(block.text, "an example", "exec"), names)
    own = [value for value in names.values() if getattr(value, "__module__", "") == "an_example"]
    classes: list[Any] = [value for value in own if isinstance(value, type) and issubclass(value, Provider)]
    made = [value for value in names.values() if isinstance(value, Provider)] + [each() for each in classes]
    assert all(describe(provider).actions for provider in made)


def test_a_command_is_recorded(tmp_path: Path) -> None:
    """As ``make picture`` does; nothing in a picture is loaded from elsewhere."""
    file = tmp_path / "picture.svg"
    subprocess.run([sys.executable, ROOT / "docs" / "record.py", file, "arbd", "version"], check=True, timeout=60)
    for picture, word in ((file, "msgspec"), (ROOT / "docs" / "demo.svg", "arbd:worker-0")):
        text = picture.read_text(encoding="utf-8")
        assert word in text
        assert re.findall(r"https?://[^\s\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_the_answer_that_is_shown_is_given() -> None:
    """The last command of the front page, and the answer below it."""
    names: dict[str, Any] = {"__name__": "prices"}
    exec(compile(blocks("README.md", "python")[0].text, "prices.py", "exec"), names)
    payload = shlex.split(commands("README.md")[-1])[4].encode()
    shown = msgspec.json.decode(blocks("README.md", "json")[0].text, type=Response)
    assert run_action(names["provider"], "total", payload) == shown


def test_the_limited_provider_answers_what_is_free_of_its_limit() -> None:
    names: dict[str, Any] = {"__name__": "an_example"}
    exec(compile(blocks("docs/limit.md", "python")[0].text, "an example", "exec"), names)
    api = names["Api"]()
    assert [run_action(api, "ping").data for _ in range(3)] == [{"pong": True}] * 3
