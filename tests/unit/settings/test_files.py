"""Files and environment become layers; what is wrong with a file is a problem like any other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from arbd.errors import ConfigError
from arbd.settings.files import read_layers, read_token
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
