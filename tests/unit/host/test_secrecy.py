"""The environment block is written over where secrets stand; the limit of core files is put to nothing."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest

from arbd.host import procs, secrecy


def test_secrets_are_written_over_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    block = ctypes.create_string_buffer(b"A=s3cret\0B=Bearer s3cret s3cret\0C=abc\0D=\xd0\xb9\xd0\xb9\0")
    monkeypatch.setattr(secrecy, "_environment_block", lambda: (ctypes.addressof(block), len(block)))
    secrecy.overwrite_environment(["s3cret", "abc", "", "йй", "not there"])
    assert block.raw == b"A=------\0B=Bearer ------ ------\0C=abc\0D=----\0\0"


def test_a_short_one_is_written_over_only_where_it_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    block = ctypes.create_string_buffer(b"A=/etc/test/ca.pem\0B=other test\0C=latest\0test=1\0D=long-token-x\0")
    monkeypatch.setattr(secrecy, "_environment_block", lambda: (ctypes.addressof(block), len(block)))
    secrecy.overwrite_environment(["test", "long-token"])
    assert block.raw == b"A=/etc/test/ca.pem\0B=other ----\0C=latest\0test=1\0D=-----------x\0\0"


def test_it_is_found_and_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = secrecy._environment_block()
    assert found is not None
    start, size = found
    assert ctypes.string_at(start, size) == Path("/proc/self/environ").read_bytes()
    stat = tmp_path / "stat"
    for content in ("", "1 (a) b) S 2", "1 (x) " + "0 " * 60):
        stat.write_text(content)
        monkeypatch.setattr(secrecy, "_STAT", stat)
        assert secrecy._environment_block() is None
        secrecy.overwrite_environment(["s3cret"])
    monkeypatch.setattr(secrecy, "_STAT", tmp_path / "none")
    assert secrecy._environment_block() is None


def test_a_kernel_that_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "no")

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(procs, "prctl", lambda *words: asked.append(words))
    secrecy.seclude()
    assert asked == [(4, 0)]  # PR_SET_DUMPABLE
    monkeypatch.setattr(procs, "prctl", refuse)
    secrecy.seclude()
    monkeypatch.setattr(resource, "setrlimit", refuse)
    secrecy.leave_no_core_files()


def test_the_soft_limit_alone_is_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5, 7))
    monkeypatch.setattr(resource, "setrlimit", lambda *words: set_to.append(words))
    secrecy.leave_no_core_files()
    assert set_to == [(resource.RLIMIT_CORE, (0, 7))]
