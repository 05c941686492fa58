"""TLS files that cannot be used are told by setting, file and fault before anything is connected with them."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from arbd.errors import ConfigError
from arbd.links.tls_files import read_tls
from arbd.settings.table import Settings, from_flags, resolve

_NEW = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=x"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates with their keys, and a key with a password."""
    directory = tmp_path_factory.mktemp("pems")
    for name in ("one", "two"):
        command = f"openssl {_NEW} -nodes -keyout {name}.key -out {name}.pem"
        subprocess.run(shlex.split(command), cwd=directory, check=True, capture_output=True)
    locked = "openssl ec -in one.key -aes128 -passout pass:word -out locked.key"
    subprocess.run(shlex.split(locked), cwd=directory, check=True, capture_output=True)
    (directory / "half.pem").write_bytes((directory / "one.pem").read_bytes()[:-100])
    (directory / "text").write_text("no PEM at all: s3cret")
    (directory / "empty").write_text("")
    return directory


def settings(pems: Path, **files: str) -> Settings:
    flags: dict[str, Any] = {f"hub.tls_{name}": str(pems / file) for name, file in files.items()}
    return resolve([from_flags({"name": "p", **flags})]).settings


def problems_of(chosen: Settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_tls(chosen)
    return caught.value.problems


def test_what_fits_is_read(pems: Path) -> None:
    tls = read_tls(settings(pems, ca="two.pem", cert="one.pem", key="one.key"))
    assert [tls.ca, tls.cert, tls.key] == [(pems / name).read_bytes() for name in ("two.pem", "one.pem", "one.key")]
    assert read_tls(settings(pems)).ca is None


@pytest.mark.parametrize("file", ["text", "empty", "half.pem", "one.key"])
def test_a_ca_that_is_no_certificate(pems: Path, file: str) -> None:
    assert problems_of(settings(pems, ca=file)) == [f"hub.tls_ca: {pems / file} holds no certificate in PEM form"]


@pytest.mark.parametrize(
    ("cert", "key", "problem"),
    [
        ("one.pem", "two.key", "do not belong together: the key is that of another certificate"),
        ("half.pem", "one.key", "are not a certificate and its private key in PEM form, without a password"),
        ("one.pem", "text", "are not a certificate and its private key in PEM form, without a password"),
        ("one.pem", "empty", "are not a certificate and its private key in PEM form, without a password"),
        ("one.pem", "locked.key", "are not a certificate and its private key in PEM form, without a password"),
    ],
)
def test_a_certificate_and_a_key_that_do_not_fit(pems: Path, cert: str, key: str, problem: str) -> None:
    [told] = problems_of(settings(pems, cert=cert, key=key))
    assert told == f"hub.tls_cert, hub.tls_key: {pems / cert} and {pems / key} {problem}"
    assert "s3cret" not in told


def test_those_that_cannot_be_read_are_told_together(pems: Path) -> None:
    told = problems_of(settings(pems, ca="no", cert="nor", key="one.key"))
    assert [each.split(" cannot be read")[0] for each in told] == [
        f"hub.tls_ca: {pems / 'no'}",
        f"hub.tls_cert: {pems / 'nor'}",
    ]


def test_a_pipe_is_read_once(pems: Path, tmp_path: Path) -> None:
    """A second reading would wait for ever: nobody writes to it again."""
    pipe = tmp_path / "ca"
    os.mkfifo(pipe)
    content = (pems / "one.pem").read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    chosen = settings(tmp_path, ca="ca")
    assert [read_tls(chosen).ca for _ in range(2)] == [content] * 2
    writer.join()
