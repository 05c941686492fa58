"""``arbd doctor`` at real hubs: each way in which one cannot be reached is told apart, in bounded time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from doctor_support import Examined, doctor
from hub_support import free_port
from rotation_support import Authority, NotingHub, openssl

TOKEN = "a-token-that-nobody-may-see"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


def expired(authority: Authority) -> tuple[bytes, bytes]:
    """A certificate that ended before it began, and its key."""
    authority.issue("old")
    openssl(
        "x509 -req -in old.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -extfile old.ext -out old.pem",
        authority.directory,
    )
    return (authority.directory / "old.pem").read_bytes(), (authority.directory / "old.key").read_bytes()


def examine(directory: Path, url: str, *settings: str, token: str = TOKEN) -> Examined:
    lines = ['name = "prices"', "[hub]", f'url = "{url}"', *settings]
    (directory / "arbd.toml").write_text("\n".join(lines))
    return doctor(directory, env={"PROVIDER_AUTH_TOKEN": token})


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that accepts connections and does what it is told with them; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                serve(connection)

        thread = threading.Thread(target=accept, name="test-listener")
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def answers_in_http(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_a_hub_that_takes_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NotingHub(monkeypatch) as hub:
        hub.tokens = {TOKEN}
        found = examine(tmp_path, hub.address)
        assert found.failures("hub") == set()
        assert "takes the token" in found.finding("hub.token")["what"]
        assert hub.hub.board.queued == 0
    assert TOKEN not in found.text


def test_no_task_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NotingHub(monkeypatch) as hub:
        ids = hub.submit("total", count=3)
        assert examine(tmp_path, hub.address).failures("hub") == set()
        assert hub.histories(ids) == [["submitted"]] * 3


def test_a_hub_that_refuses_the_token_and_quotes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NotingHub(monkeypatch) as hub:
        hub.tokens = {"another"}
        found = examine(tmp_path, hub.address)
    assert (found.code, found.failures("hub")) == (1, {"hub.token"})
    assert TOKEN not in found.text


def test_a_hub_that_knows_no_stream_is_not_asked_for_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with NotingHub(monkeypatch, stream=False) as hub:
        found = examine(tmp_path, hub.address)
        assert found.failures("hub") == set()
        assert "poll" in found.finding("hub.token")["what"]
        assert examine(tmp_path, hub.address, 'protocol = "stream"').failures("hub") == {"hub.protocol"}
        assert hub.seen == []


def test_tls_with_the_right_authority_and_the_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    other = Authority(tmp_path, "another")
    with NotingHub(monkeypatch, identity=authority.issue("hub")) as hub:
        right = examine(tmp_path, f"grpcs://{hub.address}", f'tls_ca = "{authority.path}"')
        assert right.failures("hub") == set()
        wrong = examine(tmp_path, f"grpcs://{hub.address}", f'tls_ca = "{other.path}"')
        assert (wrong.code, wrong.failures("hub")) == (1, {"hub.tls"})
        assert "hub.tls_ca" in wrong.finding("hub.tls")["do"]
        none = examine(tmp_path, f"grpcs://{hub.address}")
        assert none.failures("hub") == {"hub.tls"}
        port = hub.address.rpartition(":")[2]
        name = examine(tmp_path, f"grpcs://127.0.0.1:{port}", f'tls_ca = "{authority.path}"')
        assert "name" in name.finding("hub.tls")["do"]
        plain = examine(tmp_path, hub.address)
        assert "grpcs://" in plain.finding("hub.answer")["do"]


def test_a_certificate_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    with NotingHub(monkeypatch, identity=expired(authority)) as hub:
        found = examine(tmp_path, f"grpcs://{hub.address}", f'tls_ca = "{authority.path}"')
    assert (found.code, found.failures("hub")) == (1, {"hub.tls"})
    assert "old" in found.finding("hub.tls")["what"]
    assert "renewed" in found.finding("hub.tls")["do"]


def test_a_hub_that_wants_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    for name, content in zip(("cert.pem", "key.pem"), authority.issue("client"), strict=True):
        (tmp_path / name).write_bytes(content)
    url, ca = "grpcs://{}", f'tls_ca = "{authority.path}"'
    with NotingHub(monkeypatch, identity=authority.issue("hub"), trusted=authority.pem) as hub:
        without = examine(tmp_path, url.format(hub.address), ca)
        assert without.failures("hub") == {"hub.tls"}
        assert "hub.tls_cert" in without.finding("hub.tls")["do"]
        ours = ['tls_cert = "cert.pem"', 'tls_key = "key.pem"']
        assert examine(tmp_path, url.format(hub.address), ca, *ours).failures("hub") == set()


def test_a_client_certificate_that_has_expired_or_has_another_key(tmp_path: Path, authority: Authority) -> None:
    for name, content in zip(("old.pem", "old.key"), expired(authority), strict=True):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "other.key").write_bytes(authority.issue("other")[1])
    url = f"grpcs://127.0.0.1:{free_port()}"
    over = examine(tmp_path, url, 'tls_cert = "old.pem"', 'tls_key = "old.key"')
    assert over.failures("secrets") >= {"secrets.expiry"}
    misfit = examine(tmp_path, url, 'tls_cert = "old.pem"', 'tls_key = "other.key"')
    assert "secrets.file" in misfit.failures("secrets")


@pytest.mark.parametrize("scheme", ["", "grpcs://"])
def test_a_hub_that_accepts_and_never_answers_costs_seconds(tmp_path: Path, scheme: str) -> None:
    with listener(lambda _: None) as address:
        began = time.monotonic()
        found = examine(tmp_path, f"{scheme}{address}")
        assert time.monotonic() - began < 15
    step = "hub.tls" if scheme else "hub.answer"
    assert (found.code, found.failures("hub")) == (1, {step})
    assert "never answers" in found.finding(step)["why"]


def test_what_is_no_hub(tmp_path: Path) -> None:
    with listener(answers_in_http) as address:
        assert "no gRPC" in examine(tmp_path, address).finding("hub.answer")["why"]
        assert "TLS" in examine(tmp_path, f"grpcs://{address}").finding("hub.tls")["why"]
    with listener(lambda connection: connection.close()) as address:
        assert examine(tmp_path, address).failures("hub") == {"hub.answer"}


def test_nobody_and_nowhere(tmp_path: Path) -> None:
    refused = examine(tmp_path, f"127.0.0.1:{free_port()}")
    assert "nobody listens" in refused.finding("hub.connect")["why"]
    assert examine(tmp_path, "no-such-host.invalid:1").failures("hub") == {"hub.name"}
    assert examine(tmp_path, "unix:/nowhere/hub.sock").failures("hub") == {"hub.connect"}
