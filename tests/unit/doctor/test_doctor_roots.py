"""The authorities are those that gRPC would take: of its variable, of the system, or its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.doctor.readers import roots


def test_the_variable_comes_first_then_the_system_then_grpc_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, system, empty = tmp_path / "named", tmp_path / "system", tmp_path / "empty"
    named.write_bytes(b"n")
    system.write_bytes(b"s")
    empty.touch()
    places = [str(tmp_path / "gone"), str(empty), str(system)]
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    assert roots.trusted(places) == b"s"
    assert b"BEGIN CERTIFICATE" in roots.trusted([])
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(named))
    assert roots.trusted(places) == b"n"
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(tmp_path / "gone"))
    assert roots.trusted(places) == b"s"


def test_where_grpc_brings_none_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> bytes:
        raise FileNotFoundError

    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setattr("pkgutil.get_data", gone)
    assert roots.trusted([]) == b""
