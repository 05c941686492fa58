"""Files of secrets are read again when they have changed and then stayed the same; what cannot be used is refused once,
and what was in use goes on. No clock: the looks are made by hand."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from arbd.links.options import LinkOptions
from arbd.logs import notable
from arbd.settings.files import token_of
from arbd.settings.table import Settings, from_flags, resolve
from arbd.supervisor.in_force import InForce
from arbd.supervisor.rotation import Rotation, seen_of


class Secrets:
    """A token in a file, a link that notes what it is told, and the looks."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timers: list[Any] = []
        loop = SimpleNamespace(call_later=self._call_later)
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
        self.file = directory / "token"
        self.file.write_text("first-token")
        self.told: list[str] = []
        self.levels: list[str] = []
        self.link: Any = SimpleNamespace(renew=self._renew)
        self.in_force = InForce(self.settings("first-token"))
        self.in_logs: list[str] = []
        self.in_force.add(lambda settings: self.in_logs.append(settings.hub_auth_token))
        self.rotation = Rotation(self.in_force, self.link)
        self.told.clear()
        self.levels.clear()
        self._noted = max((each.number for each in notable.recent()), default=0)

    def _renew(self, settings: Settings, options: LinkOptions) -> None:
        assert settings.hub_auth_token == options.token
        self.told.append(options.token)
        self.levels.append(settings.log_level)

    def reload(self, settings: Settings) -> None:
        """A reload has found these."""
        self.in_force.reload(self.rotation.adjust(settings), settings)

    def set_level(self, level: Any) -> None:
        self.in_force.change(msgspec.structs.replace(self.in_force.settings, log_level=level))

    def _call_later(self, seconds: float, act: Any) -> Any:
        self.timers.append(act)
        return SimpleNamespace(cancel=lambda: self.timers.remove(act))

    def settings(self, token: str, **more: Any) -> Settings:
        flags = {"name": "p", "hub.auth_token_file": str(self.file), **more}
        return msgspec.structs.replace(resolve([from_flags(flags)]).settings, hub_auth_token=token)

    def write(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self.file)

    def noted(self) -> list[tuple[str, dict[str, Any]]]:
        """The lines since the last time."""
        found = notable.recent(self._noted)
        self._noted = max((each.number for each in found), default=self._noted)
        return [(each.event, each.fields) for each in found]


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    return Secrets(tmp_path, monkeypatch)


def test_nothing_is_told_while_nothing_changes(secrets: Secrets) -> None:
    for _ in range(3):
        secrets.rotation.look()
    assert (secrets.told, secrets.noted()) == ([], [])


def test_a_new_token_is_in_force_when_its_file_has_stayed_the_same_for_a_look(secrets: Secrets) -> None:
    secrets.write("second-token\n")
    secrets.rotation.look()
    assert secrets.told == []
    secrets.rotation.look()
    assert (secrets.told, secrets.in_logs) == (["second-token"], ["second-token"])
    assert secrets.in_force.settings.hub_auth_token == "second-token"
    assert secrets.noted() == [("credentials_renewed", {"changed": ["hub.auth_token"]})]


def test_a_file_that_is_being_written_is_not_read(secrets: Secrets) -> None:
    for text in ("s", "second", "second-to", "second-token"):
        secrets.write(text)
        secrets.rotation.look()
    assert secrets.told == []
    secrets.rotation.look()
    assert secrets.told == ["second-token"]


@pytest.mark.parametrize("content", [b"", b" \n", b"two\nlines", b"\xff\xfe"])
def test_what_is_no_token_is_refused_once_and_the_old_goes_on(secrets: Secrets, content: bytes) -> None:
    secrets.file.write_bytes(content)
    for _ in range(4):
        secrets.rotation.look()
    assert (secrets.told, secrets.in_force.settings.hub_auth_token) == ([], "first-token")
    [(event, fields)] = secrets.noted()
    assert event == "credentials_refused"
    assert str(secrets.file) in fields["problems"][0]


def test_a_file_that_is_gone_is_refused_and_tried_again_when_it_is_there(secrets: Secrets) -> None:
    secrets.file.unlink()
    for _ in range(3):
        secrets.rotation.look()
    assert [event for event, _ in secrets.noted()] == ["credentials_refused"]
    secrets.file.write_text("third-token")
    for _ in range(2):
        secrets.rotation.look()
    assert secrets.told == ["third-token"]


def test_the_same_content_in_another_file_is_no_news(secrets: Secrets) -> None:
    secrets.write("first-token")
    for _ in range(3):
        secrets.rotation.look()
    assert secrets.noted() == []


def test_new_settings_are_told_to_the_link_with_what_is_in_their_files(secrets: Secrets, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("of-the-other-file")
    secrets.reload(secrets.settings("of-a-reload", **{"hub.auth_token_file": str(other)}))
    assert secrets.told == ["of-the-other-file"]
    secrets.rotation.look()
    secrets.rotation.look()
    assert secrets.told == ["of-the-other-file"]


def test_a_token_that_came_while_workers_of_a_reload_warmed_up_stays(secrets: Secrets) -> None:
    found = secrets.settings("first-token")
    secrets.write("second-token")
    secrets.rotation.look()
    secrets.rotation.look()
    secrets.reload(found)
    assert secrets.told[-1] == "second-token"
    assert secrets.in_force.settings.hub_auth_token == "second-token"
    assert "first-token" not in secrets.in_logs


def test_a_token_that_comes_in_the_moment_of_a_reload_is_read_by_it(secrets: Secrets) -> None:
    """Whoever is told of the reload before is told of the token as well."""
    settings = secrets.rotation.adjust(secrets.settings("first-token"))
    secrets.write("second-token")
    secrets.in_force.reload(settings, settings)
    assert secrets.told == ["second-token"]
    assert secrets.in_logs == ["first-token", "second-token"]
    assert secrets.in_force.settings.hub_auth_token == "second-token"


def test_parts_that_come_after_it_are_told_of_the_newest_alone(secrets: Secrets) -> None:
    told: list[str] = []
    secrets.in_force.add(lambda settings: told.append(settings.hub_auth_token))
    secrets.write("second-token")
    secrets.in_force.reload(secrets.in_force.settings, secrets.in_force.settings)
    assert told == ["second-token"]


@pytest.mark.parametrize("looks", [0, 1])
def test_another_log_level_keeps_no_new_token_from_being_read(secrets: Secrets, looks: int) -> None:
    secrets.write("second-token")
    for _ in range(looks):
        secrets.rotation.look()
    secrets.set_level("debug")
    assert (secrets.told, secrets.levels) == (["first-token"], ["debug"])
    secrets.rotation.look()
    secrets.rotation.look()
    assert secrets.told[-1] == "second-token"
    assert secrets.levels[-1] == "debug"
    secrets.set_level("info")
    assert (secrets.told[-1], secrets.levels[-1]) == ("second-token", "info")


def test_another_log_level_reads_no_file(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is half written is nobody's problem before it has stayed the same."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets.file.parent))
    said: list[str] = []
    log: Any = SimpleNamespace(info=lambda event, **fields: said.append(event))
    secrets.rotation._log = log
    secrets.file.write_bytes(b"")
    secrets.set_level("debug")
    assert (secrets.noted(), said) == ([], [])
    assert secrets.told == ["first-token"]


def test_a_token_that_was_refused_by_a_reload_is_tried_again_and_no_level_brings_it(secrets: Secrets) -> None:
    secrets.file.write_bytes(b"")
    secrets.reload(secrets.settings("first-token", prefetch=7))
    assert [event for event, _ in secrets.noted()] == ["credentials_refused"]
    secrets.set_level("debug")
    assert (secrets.told, secrets.levels, secrets.noted()) == (["first-token"], ["debug"], [])
    secrets.write("second-token")
    secrets.rotation.look()
    secrets.rotation.look()
    assert secrets.told[-1] == "second-token"
    assert (secrets.in_force.settings.prefetch, secrets.in_force.settings.log_level) == (7, "debug")


def test_files_that_cannot_be_used_by_now_leave_the_link_as_it_is(secrets: Secrets, tmp_path: Path) -> None:
    """They were right when the reload read them."""
    secrets.reload(secrets.settings("first-token", **{"hub.tls_ca": str(tmp_path / "gone")}))
    assert secrets.told == []
    assert [event for event, _ in secrets.noted()] == ["credentials_refused"]


def test_a_pipe_is_read_once_and_never_looked_into_again(tmp_path: Path) -> None:
    """Nobody writes to it any more: who opened it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert seen_of(str(tmp_path / "pipe")) == ("no file",)
    flags = {"name": "p", "hub.auth_token_file": str(tmp_path / "pipe")}
    settings = resolve([from_flags(flags)]).settings
    assert token_of(settings) == settings.hub_auth_token


def test_a_swapped_symbolic_link_is_a_change(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("same size")
        os.utime(tmp_path / name, (1, 1))
    link = tmp_path / "link"
    link.symlink_to("one")
    before = seen_of(str(link))
    link.unlink()
    link.symlink_to("two")
    assert seen_of(str(link)) != before


def test_it_looks_again_whatever_a_look_raises(secrets: Secrets) -> None:
    def fails(settings: Any, options: Any) -> None:
        raise RuntimeError("of the link")

    secrets.link.renew = fails
    secrets.write("second-token")
    secrets.rotation.look()
    act = secrets.timers.pop()  # its time has come
    secrets.timers.append(act)
    with pytest.raises(RuntimeError, match="of the link"):
        act()
    assert secrets.timers == [secrets.rotation._on_time]
    secrets.rotation.close()
    assert secrets.timers == []


def test_without_files_nobody_looks(secrets: Secrets) -> None:
    secrets.reload(resolve([from_flags({"name": "p", "hub.auth_token": "given"})]).settings)
    assert (secrets.timers, secrets.told) == ([], ["given"])
    secrets.reload(secrets.settings("first-token"))
    assert len(secrets.timers) == 1


def test_that_systemd_s_copies_do_not_change_is_said_at_the_first_reload(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets.file.parent))
    said: list[dict[str, Any]] = []
    log: Any = SimpleNamespace(info=lambda event, **fields: said.append(fields))
    secrets.rotation._log = log
    for prefetch in (1, 2):
        secrets.reload(secrets.settings("first-token", prefetch=prefetch))
    assert [each["files"] for each in said] == [[str(secrets.file)]]
