"""The sockets of a daemon are there before anything of it is started; what cannot be had is told at once, together."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from arbd.control import server
from arbd.errors import ConfigError
from arbd.host import http_listener
from arbd.settings.table import Settings, from_constructor, resolve
from arbd.supervisor import listening


def settings_of(tmp_path: Path, metrics: str | None = None, control: str = "it.sock") -> Settings:
    """With a control socket of its own, and what is told over HTTP there."""
    given = {"control.socket": str(tmp_path / control), "metrics.listen": metrics}
    return resolve([from_constructor(given)]).settings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which another listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_without_metrics_there_is_no_listener(tmp_path: Path) -> None:
    with listening.opened(settings_of(tmp_path)) as (control, listener):
        assert control is not None
        assert listener is None


def test_both_are_closed_at_the_end(tmp_path: Path) -> None:
    with listening.opened(settings_of(tmp_path, "127.0.0.1:0")) as (control, listener):
        assert control is not None
        assert listener is not None
        assert listener.fileno() >= 0
    assert listener.fileno() == -1
    assert not (tmp_path / "it.sock").exists()


def test_a_port_that_is_taken_is_told_with_what_to_do_and_the_control_socket_goes(tmp_path: Path, taken: int) -> None:
    settings = settings_of(tmp_path, str(taken))
    with pytest.raises(ConfigError) as told, listening.opened(settings):
        pass
    (problem,) = told.value.problems
    assert problem.startswith(f"metrics.listen 127.0.0.1:{taken}: ")
    assert "ss -ltnp" in problem
    assert not (tmp_path / "it.sock").exists()


def test_the_problems_of_both_are_told_together(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def fail(_: Settings) -> Iterator[None]:
        raise ConfigError(["control.socket: no room"])
        yield

    monkeypatch.setattr(server, "opened", fail)
    with pytest.raises(ConfigError) as told, listening.opened(settings_of(tmp_path, str(taken))):
        pass
    assert [problem.partition(":")[0] for problem in told.value.problems] == [
        "control.socket",
        "metrics.listen 127.0.0.1",
    ]


def test_a_control_socket_that_cannot_be_had_leaves_no_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    listen = http_listener.listen

    def keep(address: str, port: int) -> socket.socket:
        made.append(listen(address, port))
        return made[-1]

    monkeypatch.setattr(http_listener, "listen", keep)
    settings = settings_of(tmp_path, "127.0.0.1:0", "none/it.sock")
    with pytest.raises(ConfigError), listening.opened(settings):
        pass
    assert [each.fileno() for each in made] == [-1]


def test_an_address_that_is_not_of_this_machine(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"metrics\.listen 192\.0\.2\.1:9100"),
        listening.opened(settings_of(tmp_path, "192.0.2.1:9100")),
    ):
        pass


@pytest.mark.parametrize(("where", "is_told"), [("127.0.0.1:0", False), ("0.0.0.0:0", True)])
def test_who_else_can_read_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, is_told: bool
) -> None:
    lines: list[str] = []
    log = SimpleNamespace(warning=lambda event, **_: lines.append(event))
    monkeypatch.setattr(listening, "get_logger", lambda _: log)
    with listening.opened(settings_of(tmp_path, where)):
        pass
    assert lines == (["metrics_off_loopback"] if is_told else [])
