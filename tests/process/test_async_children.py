"""Child processes of the event loop: libuv hears of their end by a handler of SIGCHLD in C, which stays where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemon_support import daemon_of, responses
from import_support import written

from arbd.testing import RunningProvider

SOURCE = """
import asyncio, ctypes, signal, subprocess
PIPE = subprocess.PIPE
LEFT = []

async def cat():
    return await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)

async def held():
    process = await cat()
    yield process
    process.stdin.close()
    await process.wait()

@provider.actions.register()
async def leaves_one():
    LEFT.append(await cat())

@provider.actions.register(timeout=2)
async def waits_for_one():
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
    return [await process.wait(), os.getpid()]

CHANGES = {
    "ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "ignored in C": lambda: ctypes.CDLL(None).signal(int(signal.SIGCHLD), ctypes.c_void_p(1)),
    "a handler": lambda: signal.signal(signal.SIGCHLD, lambda *_: None),
}

@provider.actions.register()
def changes(how: str):
    CHANGES[how]()

@provider.actions.register()
def waits_itself():
    return [subprocess.run(["sh", "-c", "exit 4"]).returncode, os.getpid()]
"""
AT_THE_START = "\nprovider.resource(held, name='helper')\n"
AT_FIRST_USE = """
provider.resource(held, name='helper', lazy=True)

@provider.actions.register()
async def uses_it(helper):
    helper.stdin.write(b"heard\\n")
    return (await helper.stdout.readline()).decode()
"""


def serves(daemon: RunningProvider) -> int:
    """The process of the worker, after it has waited for children in both ways."""
    handles = [daemon.submit("waits_for_one"), daemon.submit("waits_itself"), daemon.submit("waits_for_one")]
    [of_loop, own, again] = [response.data for response in responses(daemon, handles)]
    assert [of_loop[0], own[0], again[0]] == [3, 4, 3]
    assert of_loop[1] == own[1] == again[1]
    pid: int = own[1]
    return pid


def test_one_that_an_action_has_left_running(tmp_path_factory: pytest.TempPathFactory) -> None:
    with daemon_of(written(tmp_path_factory.mktemp("children"), SOURCE)) as daemon:
        pid = serves(daemon)
        assert daemon.run("leaves_one").status == "success"
        assert serves(daemon) == pid


def test_one_of_a_resource_that_is_opened_late(tmp_path_factory: pytest.TempPathFactory) -> None:
    with daemon_of(written(tmp_path_factory.mktemp("children"), SOURCE + AT_FIRST_USE)) as daemon:
        pid = serves(daemon)
        assert daemon.run("uses_it").data == "heard\n"
        assert serves(daemon) == pid


@pytest.fixture(scope="module")
def with_resource(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    with daemon_of(written(tmp_path_factory.mktemp("children"), SOURCE + AT_THE_START)) as daemon:
        yield daemon


@pytest.mark.parametrize("how", ["", "ignored", "ignored in C", "a handler"])
def test_one_of_a_resource_whatever_an_action_does_to_the_signal(with_resource: RunningProvider, how: str) -> None:
    pid = serves(with_resource)
    if how:
        assert with_resource.run("changes", {"how": how}).status == "success"
    assert serves(with_resource) == pid
