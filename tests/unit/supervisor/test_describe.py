"""What TARGET holds is told by a process of its own that never sees a secret, and its failures keep their kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from arbd.errors import TargetError, ZygoteError
from arbd.supervisor.describe import describe
from arbd.supervisor.request import RunRequest

TOKEN = "a-token-that-nobody-may-see"


@pytest.fixture
def environ() -> Mapping[str, str]:
    return {**os.environ, "PROVIDER_AUTH_TOKEN": TOKEN, "ELSEWHERE": f"hub://x:{TOKEN}@y", "NOTIFY_SOCKET": "/run/n"}


def write(directory: Path, text: str) -> str:
    file = directory / "desk.py"
    file.write_text(text)
    return str(file)


def test_a_request_needs_a_target_only() -> None:
    request = RunRequest(target="desk")
    assert (request.argv, request.flags, request.config_file, request.script, request.dev) == (
        [],
        {},
        None,
        False,
        False,
    )
    assert RunRequest(target="desk").flags is not request.flags


def test_describe(tmp_path: Path, environ: Mapping[str, str]) -> None:
    text = """
import os, sys
from arbd import Provider
provider = Provider("|".join([*sys.argv[1:], os.environ["PROVIDER_AUTH_TOKEN"], os.environ["ELSEWHERE"],
                              str("NOTIFY_SOCKET" in os.environ), str(os.getpid())]))

@provider.actions.register(name="ping", payload_schema={"a": int}, timeout=2.5)
def ping(a: int) -> None: ...
"""
    described = describe(write(tmp_path, text), ["one", "two"], environ)
    *arguments, token, elsewhere, notified, pid = described.given["name"].split("|")
    assert arguments == ["one", "two"]
    assert (token, elsewhere) == ("arbd-redacted-arbd-redacted-"[: len(TOKEN)], f"hub://x:{token}@y")
    assert notified == "False"
    assert int(pid) != os.getpid()
    assert [(action.name, action.timeout) for action in described.actions] == [("ping", 2.5)]
    assert described.sources == [str(tmp_path / "desk.py")]


def test_describe_a_script(tmp_path: Path, environ: Mapping[str, str]) -> None:
    file = write(tmp_path, "from arbd import Provider\nif __name__ == '__main__': Provider('script').start()")
    assert describe(file, [], environ, script=True).given == {"name": "script"}


def test_a_target_that_leads_nowhere(tmp_path: Path, environ: Mapping[str, str]) -> None:
    file = write(tmp_path, "")
    with pytest.raises(TargetError, match="holds no provider"):
        describe(file, [], environ)


def test_code_that_breaks_brings_its_traceback(tmp_path: Path, environ: Mapping[str, str]) -> None:
    file = write(tmp_path, "def load():\n    return {}['prices']\nload()")
    with pytest.raises(ZygoteError) as caught:
        describe(file, [], environ)
    message = str(caught.value)
    assert message.startswith("the provider's code failed: KeyError: 'prices'\n")
    assert f'File "{file}", line 2, in load' in message


def test_code_that_ends_its_process(tmp_path: Path, environ: Mapping[str, str]) -> None:
    file = write(tmp_path, "import os\nos._exit(7)")
    with pytest.raises(ZygoteError, match="the process that imports the provider ended with status 7"):
        describe(file, [], environ)
