"""``arbd hub`` asks who calls before it listens for others; what reaches it knows token and TLS from files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cli_support import invoke

from arbd.cli import _hub, _hub_client
from arbd.cli import hub as hub_command
from arbd.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE
from arbd.hub.server import HubOptions
from arbd.links import tls_files
from arbd.wire.grpc_channel import Tls


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[HubOptions]:
    """The options of the hubs that would serve."""
    found: list[HubOptions] = []

    async def serve(options: HubOptions) -> int:
        found.append(options)
        return EXIT_OK

    monkeypatch.setattr(hub_command, "_serve", serve)
    monkeypatch.setattr(_hub, "require_listen", lambda _: None)
    return found


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "hub.token"
    file.write_text("one\n\n  two \n")
    file.chmod(0o600)
    return file


def test_on_the_loopback_anybody_may_call(served: list[HubOptions]) -> None:
    found = invoke("hub")
    assert (found.exit_code, found.stderr) == (EXIT_OK, "")
    assert (served[0].address, list(served[0].tokens)) == ("127.0.0.1:50051", [])


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:1", "hub:1", "10.0.0.1:1"])
def test_for_other_hosts_it_refuses_without_a_token_and_names_the_ways(served: list[HubOptions], listen: str) -> None:
    found = invoke("hub", "--listen", listen)
    assert (found.exit_code, served) == (EXIT_USAGE, [])
    assert [word for word in ("--token-file", "--client-ca", "--insecure") if word not in found.stderr] == []
    insecure = invoke("hub", "--listen", listen, "--insecure")
    assert (insecure.exit_code, len(served)) == (EXIT_OK, 1)
    assert "anybody" in insecure.stderr
    assert "without TLS" in insecure.stderr


def test_tokens_come_from_a_file_or_the_environment(served: list[HubOptions], token_file: Path) -> None:
    found = invoke("hub", "--token-file", str(token_file), env={"HUB_AUTH_TOKEN": "three"})
    assert (found.exit_code, found.stderr) == (EXIT_OK, "")
    assert sorted(served[0].tokens) == ["one", "three", "two"]
    assert invoke("hub", env={"HUB_AUTH_TOKEN": " "}).exit_code == EXIT_OK
    assert list(served[1].tokens) == []  # an empty variable is none


def test_a_token_among_the_arguments_is_remarked_and_not_repeated(served: list[HubOptions]) -> None:
    found = invoke("hub", "--token", "s3cret-token")
    assert (found.exit_code, list(served[0].tokens)) == (EXIT_OK, ["s3cret-token"])
    assert "--token-file" in found.stderr
    assert "s3cret-token" not in found.stderr


def test_a_file_that_others_may_read_is_remarked(served: list[HubOptions], token_file: Path) -> None:
    token_file.chmod(0o644)
    found = invoke("hub", "--token-file", str(token_file))
    assert (found.exit_code, len(served)) == (EXIT_OK, 1)
    assert "0644" in found.stderr
    assert "chmod 600" in found.stderr


def test_a_private_key_that_others_may_read_is_remarked(
    served: list[HubOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_files, "read_files", lambda *_: Tls(cert=b"c", key=b"k"))
    cert, key = tmp_path / "hub.pem", tmp_path / "hub.key"
    for file in (cert, key):
        file.touch()
        file.chmod(0o644)
    words = ("hub", "--tls-cert", str(cert), "--tls-key", str(key))
    said = invoke(*words).stderr
    assert (f"{key} has mode 0644" in said, str(cert) in said) == (True, False)
    key.chmod(0o600)
    assert invoke(*words).stderr == ""
    key.unlink()
    assert (invoke(*words).stderr, len(served)) == ("", 3)


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"a\x1bb\n", b"\xff\n"])
def test_a_token_file_that_holds_none_is_refused(
    served: list[HubOptions], tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    found = invoke("hub", "--token-file", str(file))
    assert (found.exit_code, served) == (EXIT_CONFIG, [])
    assert "--token-file" in found.stderr


@pytest.mark.parametrize(
    "words", [["--tls-cert", "c"], ["--tls-key", "k"], ["--client-ca", "ca"], ["--client-ca", "ca", "--tls-key", "k"]]
)
def test_half_of_tls_is_refused(served: list[HubOptions], words: list[str]) -> None:
    assert (invoke("hub", *words).exit_code, served) == (EXIT_USAGE, [])


def test_files_of_tls_that_cannot_be_used_are_all_told(served: list[HubOptions], tmp_path: Path) -> None:
    found = invoke("hub", "--tls-cert", str(tmp_path / "c.pem"), "--tls-key", str(tmp_path / "k.pem"))
    assert (found.exit_code, served) == (EXIT_CONFIG, [])
    assert "--tls-cert" in found.stderr
    assert "--tls-key" in found.stderr


# -- who calls it --------------------------------------------------------------------------------------------------


class NoHub:
    """A client that would submit; ``reached`` holds how each was made."""

    reached: ClassVar[list[tuple[str, str, bool | None]]] = []

    def __init__(self, url: str, *, token: str, tls: bool | None, **_: Any) -> None:
        self.reached.append((url, token, tls))

    async def __aenter__(self) -> NoHub:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)

    async def cancel(self, _: str) -> bool:
        return True


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool | None]]:
    monkeypatch.setattr("arbd.hub.client.HubClient", NoHub)
    monkeypatch.setattr(NoHub, "reached", [])
    for name in (*_hub_client._VARIABLES, "HUB_GRPC_URL"):
        monkeypatch.delenv(name, raising=False)
    return NoHub.reached


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        ([], {}, ("127.0.0.1:50051", "", None)),
        ([], {"HUB_GRPC_URL": "localhost:1", "PROVIDER_AUTH_TOKEN": " tok "}, ("localhost:1", "tok", None)),
        (["--hub", "localhost:2"], {"HUB_GRPC_URL": "localhost:1"}, ("localhost:2", "", None)),
        ([], {"HUB_GRPC_URL": "", "PROVIDER_AUTH_TOKEN": ""}, ("127.0.0.1:50051", "", None)),
        (["--hub", "grpcs://hub:1"], {}, ("grpcs://hub:1", "", None)),
        ([], {"ARBD_HUB_TLS": "on", "ARBD_WORKERS": "of no concern"}, ("127.0.0.1:50051", "", True)),
        (["--token-file", "FILE"], {"PROVIDER_AUTH_TOKEN": "other"}, ("127.0.0.1:50051", "one-and-only", None)),
    ],
)
def test_options_win_over_the_environment(
    reached: list[Any], tmp_path: Path, words: list[str], env: dict[str, str], expected: tuple[str, str, bool | None]
) -> None:
    (tmp_path / "token").write_text("one-and-only\n")
    told = [str(tmp_path / "token") if word == "FILE" else word for word in words]
    found = invoke("cancel", "t1", *told, env=env)
    assert (found.exit_code, found.stderr, reached) == (EXIT_OK, "", [expected])


def test_another_host_without_tls_is_said_and_refused_where_tls_is_required(reached: list[Any]) -> None:
    found = invoke("cancel", "t1", "--hub", "hub:1", env={"PROVIDER_AUTH_TOKEN": "s3cret-token"})
    assert found.exit_code == EXIT_OK
    assert "grpcs://" in found.stderr
    assert "s3cret-token" not in found.stderr
    refused = invoke("cancel", "t1", "--hub", "hub:1", env={"ARBD_HUB_REQUIRE_TLS": "1"})
    assert (refused.exit_code, len(reached)) == (EXIT_CONFIG, 1)
