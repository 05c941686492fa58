"""Files and environment become layers; what is wrong with a file is a problem like any other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from arbd.errors import ConfigError
from arbd.settings.files import read_layers, read_sources, read_token
from arbd.settings.table import resolve


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_arbd_toml_of_the_working_directory_counts_below_the_environment(directory: Path) -> None:
    (directory / "arbd.toml").write_text('workers = 3\n[hub]\nurl = "a:1"\n')
    resolved = resolve(read_layers(None, {"HUB_GRPC_URL": "b:2"}))
    assert (resolved.settings.workers, resolved.settings.hub_url) == (3, "b:2")
    assert (resolved.origin["workers"], resolved.origin["hub.url"]) == ("arbd.toml", "environment HUB_GRPC_URL")


def test_without_a_file_there_is_only_the_environment() -> None:
    assert len(read_layers(None, {})) == 1


def test_another_file_is_named_in_the_origin(directory: Path) -> None:
    (directory / "other.toml").write_text("workers = 2\n")
    assert resolve(read_layers("other.toml", {})).origin["workers"] == "other.toml"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, os.strerror(errno.ENOENT)),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"workers =", ""),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_with_all_other_problems(
    directory: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (directory / "x.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve(read_layers("x.toml", {"ARBD_WORKERS": "0"}))
    unreadable, other = caught.value.problems
    assert unreadable.startswith(f"x.toml: cannot be read: {reason}")
    assert other == "environment ARBD_WORKERS: workers is '0'; allowed: auto, or a whole number from 1 to 1024"


def test_the_token_is_read_from_its_file_without_the_line_end(directory: Path) -> None:
    (directory / "token").write_text("s3cret\n")
    resolved = read_token(resolve(read_layers(None, {"ARBD_HUB_AUTH_TOKEN_FILE": "token"})))
    assert (resolved.settings.hub_auth_token, resolved.origin["hub.auth_token"]) == ("s3cret", "file token")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, f"cannot be read: {os.strerror(errno.ENOENT)}"),
        (b"", "must hold the token, on one line"),
        (b"one\ntwo\n", "must hold the token, on one line"),
        (b"\xff", "cannot be read: not UTF-8 text"),
    ],
)
def test_a_token_file_that_holds_no_token(directory: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        (directory / "token").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_token(resolve(read_layers(None, {"ARBD_HUB_AUTH_TOKEN_FILE": "token"})))
    assert caught.value.problems == [f"environment ARBD_HUB_AUTH_TOKEN_FILE: hub.auth_token_file token {problem}"]


def test_without_a_token_file_nothing_changes() -> None:
    resolved = resolve([])
    assert read_token(resolved) is resolved


def test_the_environment_file_wins_over_the_environment_and_is_the_codes_as_well(directory: Path) -> None:
    """systemd reads the same file at the start, and its variables stay in the environment as they were then."""
    (directory / "e").write_text("ARBD_WORKERS=3\nOWN=new\n")
    environ = {"ARBD_WORKERS": "2", "ARBD_PREFETCH": "7", "OWN": "old", "ARBD_ENV_FILE": "e"}
    sources = read_sources(None, environ)
    resolved = resolve(sources.layers)
    assert (resolved.settings.workers, resolved.settings.prefetch) == (3, 7)
    assert resolved.origin["workers"] == "e ARBD_WORKERS"
    assert sources.environ == environ | {"ARBD_WORKERS": "3", "OWN": "new"}
    assert environ["OWN"] == "old"


def test_the_command_line_names_it_over_the_environment_and_that_over_arbd_toml(directory: Path) -> None:
    (directory / "arbd.toml").write_text('env_file = "toml.env"\n')
    for number, name in enumerate(("toml.env", "variable.env", "flag.env"), start=1):
        (directory / name).write_text(f"ARBD_WORKERS={number}\n")
    variable = {"ARBD_ENV_FILE": "variable.env"}
    assert [
        resolve(read_layers(*arguments)).settings.workers
        for arguments in ((None, {}), (None, variable), (None, variable, "flag.env"))
    ] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, f"env_file e: cannot be read: {os.strerror(errno.ENOENT)}"),
        (b"\xff", "env_file e: cannot be read: not UTF-8 text"),
        (b"s3cret", "e: line 1 is not NAME=VALUE"),
        (b"ARBD_NO=1", "e ARBD_NO: no such setting"),
        (b"ARBD_ENV_FILE=x", "e: ARBD_ENV_FILE has no meaning in an environment file; remove it"),
        (b"ARBD_WORKERS=x", "e ARBD_WORKERS: workers is 'x'; allowed: auto, or a whole number from 1 to 1024"),
    ],
)
def test_what_is_wrong_with_an_environment_file_is_a_problem(
    directory: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (directory / "e").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve(read_layers(None, {"ARBD_ENV_FILE": "e"}))
    assert caught.value.problems == [problem]


def test_an_environment_file_that_is_no_path_is_told_as_any_wrong_setting(directory: Path) -> None:
    (directory / "arbd.toml").write_text("env_file = 3\n")
    with pytest.raises(ConfigError, match="env_file is 3"):
        resolve(read_layers(None, {}))


def test_the_token_of_a_pipe_stays_the_one_that_was_read(directory: Path) -> None:
    """A reload cannot read it again: nobody writes to it any more."""
    os.mkfifo(directory / "token")
    resolved = resolve(read_layers(None, {"ARBD_HUB_AUTH_TOKEN_FILE": "token"}))
    before = msgspec.structs.replace(resolved.settings, hub_auth_token="read-at-the-start")
    assert read_token(resolved, before).settings.hub_auth_token == "read-at-the-start"


def test_a_token_without_an_end_is_not_read_to_its_end(directory: Path) -> None:
    (directory / "token").write_bytes(b"x" * 1_000_000)
    resolved = resolve(read_layers(None, {"ARBD_HUB_AUTH_TOKEN_FILE": "token"}))
    assert len(read_token(resolved).settings.hub_auth_token) == 64 * 1024
