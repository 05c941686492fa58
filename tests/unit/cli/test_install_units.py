"""``arbd install-units`` writes what is needed, nothing twice, and nothing over what somebody has changed."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_support import invoke
from click.testing import Result

from arbd.cli import _unit_files, install_units

UNIT = "etc/systemd/system/arbd@.service"
WRITTEN = [UNIT, "etc/sysusers.d/arbd.conf", "etc/tmpfiles.d/arbd.conf"]
RELOAD = "etc/systemd/system/arbd@.service.d/10-notify-reload.conf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "root"
    found.mkdir()
    return found


def install(root: Path, *more: str) -> Result:
    return invoke("install-units", "--root", str(root), "--arbd", "/opt/arbd/bin/arbd", *more)


def document(root: Path, *more: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(install(root, "--json", *more).stdout)
    return shown


def states(root: Path, *more: str) -> list[str]:
    return [file["state"] for file in document(root, *more)["files"]]


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def has_systemd(root: Path, version: str) -> None:
    library = root / f"usr/lib/systemd/libsystemd-shared-{version}.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    library.touch()


def test_everything_is_written_for_all_to_read(root: Path) -> None:
    old = os.umask(0o077)
    try:
        result = install(root)
    finally:
        os.umask(old)
    assert result.exit_code == 0
    assert files_of(root) == sorted(WRITTEN)
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in WRITTEN} == {0o644}
    directories = [path for path in root.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o755}
    assert f"created    {root / UNIT}" in result.stdout
    assert "/etc/arbd/NAME.toml" in result.stdout


def test_the_unit_starts_the_command_it_is_given(root: Path) -> None:
    install(root)
    text = (root / UNIT).read_text()
    assert "\nExecStart=/opt/arbd/bin/arbd run --config /etc/arbd/%i.toml\n" in text
    assert _unit_files.COMMAND not in text


def test_a_second_time_nothing_changes(root: Path) -> None:
    install(root)
    before = {name: (root / name).stat().st_ino for name in WRITTEN}
    assert states(root) == ["unchanged"] * 3
    assert {name: (root / name).stat().st_ino for name in WRITTEN} == before


def test_what_this_command_wrote_it_may_replace(root: Path) -> None:
    invoke("install-units", "--root", str(root), "--arbd", "/opt/old/bin/arbd")
    assert states(root) == ["updated", "unchanged", "unchanged"]
    assert "/opt/old" not in (root / UNIT).read_text()


def test_a_mode_that_was_changed_is_put_right(root: Path) -> None:
    install(root)
    (root / UNIT).chmod(0o600)
    assert states(root) == ["updated", "unchanged", "unchanged"]
    assert stat.S_IMODE((root / UNIT).stat().st_mode) == 0o644


@pytest.mark.parametrize("content", [None, "", "[Service]\nExecStart=/bin/true\n", b"\xff\xfe"])
def test_what_was_changed_by_hand_is_refused_and_nothing_is_written(root: Path, content: str | bytes | None) -> None:
    file = root / "etc/sysusers.d/arbd.conf"
    if content is None:  # ours, with one line more
        install(root)
        (root / UNIT).unlink()
        content = file.read_text() + "u other -\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = file.read_bytes()
    result = install(root)
    assert (result.exit_code, file.read_bytes(), (root / UNIT).exists()) == (1, before, False)
    assert f"refused    {file}: it was changed by hand, or not written by this command" in result.stdout
    assert "nothing was written" in result.stderr
    assert "--force" in result.stderr
    assert states(root) == ["created", "refused", "created"] or states(root) == ["created", "refused", "unchanged"]
    assert document(root)["written"] is False
    assert install(root, "--force").exit_code == 0
    assert states(root) == ["unchanged"] * 3


class TestLinks:
    def test_one_in_place_of_the_file_is_refused(self, root: Path) -> None:
        """A masked unit is a link to /dev/null: somebody does not want it to be started."""
        (root / UNIT).parent.mkdir(parents=True)
        (root / UNIT).symlink_to("/dev/null")
        result = install(root)
        assert result.exit_code == 1
        assert f"{root / UNIT}: it is a link to /dev/null" in result.stdout
        assert install(root, "--force").exit_code == 0
        assert not (root / UNIT).is_symlink()

    @pytest.mark.parametrize("more", [[], ["--force"]])
    def test_one_that_leads_out_of_the_root_is_refused(self, root: Path, tmp_path: Path, more: list[str]) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (root / "etc").symlink_to(outside)
        result = install(root, *more)
        assert result.exit_code == 1
        assert f"leads out of {root}" in result.stdout
        assert files_of(outside) == []

    def test_one_within_the_root_is_followed(self, root: Path) -> None:
        (root / "usr/etc").mkdir(parents=True)
        (root / "etc").symlink_to("usr/etc")
        assert install(root).exit_code == 0
        assert (root / "usr" / UNIT).is_file()


class TestVersions:
    @pytest.mark.parametrize(("version", "waits"), [("252", False), ("253.5-1.fc38", True), ("257", True)])
    def test_from_253_on_systemd_waits_for_reloads(self, root: Path, version: str, waits: bool) -> None:
        has_systemd(root, version)
        assert document(root)["systemd"] == int(version[:3])
        assert (root / RELOAD).exists() == waits

    def test_one_that_is_too_old_is_told(self, root: Path) -> None:
        has_systemd(root, "249")
        assert "this is systemd 249; 252 or newer is needed" in document(root)["notes"][0]

    def test_none_is_told(self, root: Path) -> None:
        assert document(root)["notes"][0].startswith(f"no systemd was found below {root}")

    def test_distributions_keep_it_in_different_places(self, root: Path) -> None:
        place = root / "usr/lib/x86_64-linux-gnu/systemd"
        place.mkdir(parents=True)
        (place / "libsystemd-shared-254.so").touch()
        assert _unit_files.systemd_version(root) == 254


class TestCommand:
    @pytest.mark.parametrize(
        "path", ["arbd", "./arbd", "/opt/a b/arbd", "/opt/%i/arbd", "/opt/$x", '/o"', "/x\n[Y]", "/ä"]
    )
    def test_a_path_that_cannot_stand_in_a_unit_is_a_wrong_command_line(self, root: Path, path: str) -> None:
        result = invoke("install-units", "--root", str(root), "--arbd", path)
        assert (result.exit_code, files_of(root)) == (2, [])
        assert "cannot stand in a unit" in result.stderr

    def test_without_one_it_is_that_of_this_installation(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "arbd").touch()
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        assert invoke("install-units", "--root", str(root)).exit_code == 0
        assert f"\nExecStart={tmp_path}/arbd run " in (root / UNIT).read_text()

    def test_an_installation_without_a_command_asks_for_one(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        result = invoke("install-units", "--root", str(root))
        assert (result.exit_code, files_of(root)) == (78, [])
        assert "--arbd PATH" in result.stderr

    @pytest.mark.parametrize(
        "home", ["/home/me/bin/arbd", "/root/arbd", "/tmp/x/arbd", "/var/tmp/arbd", "/run/user/1/a"]
    )
    def test_one_that_the_sandbox_hides_is_told(self, root: Path, home: str) -> None:
        result = invoke("install-units", "--root", str(root), "--arbd", home)
        assert result.exit_code == 0
        assert "which the unit hides" in result.stderr

    def test_one_that_others_cannot_run_is_told(self, root: Path) -> None:
        command = root / "opt/arbd"
        command.parent.mkdir()
        command.touch()
        command.chmod(0o755)
        assert _unit_files.out_of_reach(Path("/opt/arbd"), root) == ""
        command.chmod(0o744)
        assert _unit_files.out_of_reach(Path("/opt/arbd"), root) == "/opt/arbd is closed to other users (mode 744)"
        command.parent.chmod(0o700)
        assert _unit_files.out_of_reach(Path("/opt/arbd"), root) == "/opt is closed to other users (mode 700)"

    def test_so_is_an_interpreter_out_of_reach(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A virtual environment in the right place, made with a Python of somebody's home directory."""
        monkeypatch.setattr(sys, "executable", "/home/me/python/bin/python3")
        (root / "opt").mkdir()
        (root / "opt/arbd").touch()
        (root / "opt/arbd").chmod(0o755)
        notes = [*install_units._notes(252, "/opt/arbd", root, for_user=False, is_own=True)]
        assert [note.partition(":")[0] for note in notes] == [
            "/home/me/python/bin/python3 is below /home, which the unit hides"
        ]
        assert [*install_units._notes(252, "/home/me/arbd", root, for_user=True, is_own=True)] == []


class TestUser:
    def test_units_of_the_user_go_to_the_users_configuration(self, tmp_path: Path) -> None:
        environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
        result = invoke("install-units", "--user", "--arbd", "/home/me/bin/arbd", env=environ)
        assert (result.exit_code, result.stderr) == (0, "")
        assert files_of(tmp_path) == ["config/systemd/user/arbd@.service"]
        assert "systemctl --user enable --now arbd@NAME" in result.stdout

    def test_without_that_variable_below_the_home_directory(self, tmp_path: Path) -> None:
        invoke("install-units", "--user", "--arbd", "/x/arbd", env={"XDG_CONFIG_HOME": "", "HOME": str(tmp_path)})
        assert files_of(tmp_path) == [".config/systemd/user/arbd@.service"]

    def test_in_an_image_they_are_for_all_its_users(self, root: Path) -> None:
        assert install(root, "--user").exit_code == 0
        assert files_of(root) == ["etc/systemd/user/arbd@.service"]

    def test_what_is_next_in_an_image_is_nothing_of_this_machine(self, root: Path) -> None:
        settings, enable = document(root, "--user")["next"]
        assert settings.startswith("settings of a provider go to ~/.config/arbd/NAME.toml of the user, or to /etc/skel")
        assert enable == f"systemctl --root {root} --global enable arbd@NAME: for every user of the image"

    def test_a_root_with_a_space_is_one_word_of_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "my image").mkdir()
        for more in ([], ["--user"]):
            assert f"--root '{tmp_path}/my image'" in document(tmp_path / "my image", *more)["next"][1]

    @pytest.mark.parametrize(("version", "notes"), [("249", []), ("254", []), (None, ["no systemd was found below "])])
    def test_nothing_is_said_of_credentials_that_these_units_do_not_use(
        self, root: Path, version: str | None, notes: list[str]
    ) -> None:
        if version:
            has_systemd(root, version)
        assert document(root, "--user")["notes"] == [f"{note}{root}" for note in notes]

    def test_one_that_was_changed_by_hand_is_edited_as_the_user(self, root: Path) -> None:
        install(root, "--user")
        (root / "etc/systemd/user/arbd@.service").write_text("[Service]\n")
        assert "systemctl --user edit arbd@" in install(root, "--user").stderr


class TestTrouble:
    def test_a_directory_that_cannot_be_written_is_told_with_what_to_do(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(_unit_files, "_replace", refuse)
        result = install(root)
        assert result.exit_code == 1
        assert f"cannot write {root / UNIT}: Permission denied; run it as root, or with --user" in result.stderr

    def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoke("install-units", "--root", str(root), "--arbd", "/opt/old/bin/arbd")
        before = (root / UNIT).read_text()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fchmod", full)
        result = install(root)
        assert (result.exit_code, (root / UNIT).read_text()) == (1, before)
        assert f"cannot write {root / UNIT}: No space left on device" in result.stderr
        assert files_of(root) == sorted(WRITTEN)

    def test_a_directory_in_place_of_a_file_is_told(self, root: Path) -> None:
        (root / UNIT).mkdir(parents=True)
        result = install(root)
        assert result.exit_code == 1
        assert "cannot look at" in result.stderr

    def test_a_root_that_is_not_there_is_a_wrong_command_line(self, root: Path) -> None:
        assert install(root / "nowhere").exit_code == 2
