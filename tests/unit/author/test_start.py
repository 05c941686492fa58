"""``provider.start()`` replaces the process by ``arbd run`` of the very script or module that called it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from arbd.author.provider import Provider
from arbd.author.start import StartReached, loading
from arbd.errors import ConfigError

#: Stands in for the command that would run a daemon: says how it was started.
_FAKE_ARBD = """
import sys
print(sys.flags.safe_path, sys.argv[1:], flush=True)
"""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been executed."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append([path, *command]))
    monkeypatch.setattr(sys, "argv", ["script", "--region", "eu"])
    return commands


def run_as(monkeypatch: pytest.MonkeyPatch, file: str | None, spec: ModuleSpec | None) -> None:
    main = ModuleType("__main__")
    main.__spec__ = spec
    if file is not None:
        main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)


@pytest.mark.parametrize(
    ("file", "spec", "place"),
    [
        ("/srv/desk.py", None, "/srv/desk.py"),
        ("/srv/pkg/desk.py", ModuleSpec("pkg.desk", None), "pkg.desk"),
        ("/srv/pkg/__main__.py", ModuleSpec("pkg.__main__", None), "pkg.__main__"),
        ("/srv/dir/__main__.py", ModuleSpec("__main__", None), "/srv/dir/__main__.py"),  # python /srv/dir
    ],
)
def test_the_command(
    executed: list[list[str]], monkeypatch: pytest.MonkeyPatch, file: str, spec: ModuleSpec | None, place: str
) -> None:
    run_as(monkeypatch, file, spec)
    Provider("desk").start()
    [[program, *command]] = executed
    assert (program, command[0]) == (sys.executable, sys.executable)
    assert command[-9:] == ["-P", "-m", "arbd", "run", "--script", place, "--", "--region", "eu"]


@pytest.mark.parametrize("spec", [None, ModuleSpec("__main__", None)])
def test_an_interactive_session_has_nothing_to_run(
    executed: list[list[str]], monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None
) -> None:
    run_as(monkeypatch, None, spec)
    with pytest.raises(ConfigError, match=r"needs a script or a module .* put the provider into a file"):
        Provider("desk").start()
    assert executed == []


def test_while_loading_it_hands_its_provider_over(executed: list[list[str]]) -> None:
    provider = Provider("desk")
    with loading(), pytest.raises(StartReached) as caught:
        provider.start()
    assert caught.value.provider is provider
    assert not isinstance(caught.value, Exception), "an author's `except Exception` would swallow it"
    assert executed == []


class WentOn(BaseException):
    """In place of the end of the process."""


def goes_on(provider: object) -> NoReturn:
    raise WentOn(provider)


def test_or_goes_on_inside_the_call(executed: list[list[str]]) -> None:
    provider = Provider("desk")
    with loading(goes_on), pytest.raises(WentOn) as caught:
        provider.start()
    assert caught.value.args == (provider,)
    with pytest.raises(StartReached), loading():
        provider.start()


def test_a_module_that_calls_it_while_it_is_imported_counts_as_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that imports it again would wait for the end of the import, which never comes."""
    module = ModuleType("desk")
    module.__spec__ = spec = ModuleSpec("desk", None)
    spec._initializing = True  # type: ignore[attr-defined] # what importlib sets
    monkeypatch.setitem(sys.modules, "desk", module)
    monkeypatch.setitem(sys.modules, "odd", 3)  # some put no module there
    with loading(goes_on), pytest.raises(WentOn):
        Provider("desk").start()
    assert spec._initializing is False  # type: ignore[attr-defined] # as above


def test_a_loop_that_ran_it_is_not_running_any_more() -> None:
    running: list[object] = []

    def look(_: object) -> NoReturn:
        running.append(asyncio._get_running_loop())
        raise WentOn

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(WentOn):
            Provider("desk").start()
        asyncio._set_running_loop(loop)  # only a test goes on

    with loading(look):
        asyncio.run(main())
    assert running == [None]


def test_a_thread_cannot_go_on() -> None:
    raised: list[BaseException] = []

    def call() -> None:
        try:
            Provider("desk").start()
        except BaseException as exc:
            raised.append(exc)

    with loading(goes_on):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert [type(each) for each in raised] == [StartReached]


def test_the_process_keeps_its_flags_and_output(tmp_path: Path) -> None:
    """A real one, with a stand-in for the command: what was printed before is there, once, and in order."""
    fake = tmp_path / "fake" / "arbd"
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (fake / "__main__.py").write_text(_FAKE_ARBD)
    script = tmp_path / "desk"
    script.write_text(
        "import os\nfrom arbd import Provider\nprint('before', end=' ')\n"
        f"os.environ['PYTHONPATH'] = {str(fake.parent)!r}\nProvider('desk').start()\nprint('never')\n"
    )
    command = [sys.executable, "-W", "error", str(script), "-v"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    assert run.stdout == f"before True {['run', '--script', str(script), '--', '-v']}\n"
