"""Where a daemon puts its socket, where a command looks for it, and which directories are not to be trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbd.host import runtime_dir

USER = 1000
XDG = {"XDG_RUNTIME_DIR": "/run/user/1000"}
SYSTEMD = {"RUNTIME_DIRECTORY": "/run/prices:/run/other"}


@pytest.mark.parametrize(
    ("given", "environ", "uid", "place"),
    [
        ("/srv/run", {**SYSTEMD, **XDG}, USER, "/srv/run"),
        (None, {**SYSTEMD, **XDG}, USER, "/run/prices"),
        (None, SYSTEMD, 0, "/run/prices"),
        (None, XDG, 0, "/run/arbd"),
        (None, XDG, USER, "/run/user/1000/arbd"),
        (None, {"XDG_RUNTIME_DIR": "", "RUNTIME_DIRECTORY": ""}, USER, "/tmp/arbd-1000"),
        (None, {}, USER, "/tmp/arbd-1000"),
    ],
)
def test_a_daemon_takes_the_first_place_there_is(
    given: str | None, environ: dict[str, str], uid: int, place: str
) -> None:
    assert runtime_dir.for_daemon(given, environ, uid) == Path(place)


class TestForCommand:
    @pytest.fixture(autouse=True)
    def _machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime_dir, "ROOT_DIR", tmp_path / "run")
        monkeypatch.setattr(runtime_dir, "SESSIONS", tmp_path / "sessions")

    def test_it_looks_wherever_a_daemon_of_that_user_or_a_system_service_may_be(self, tmp_path: Path) -> None:
        for unit in ("run/b-unit", "run/a-unit"):
            (tmp_path / unit).mkdir(parents=True)
        (tmp_path / "run/a.sock").touch()
        assert runtime_dir.for_command(None, XDG, USER) == [
            Path("/run/user/1000/arbd"),
            Path("/tmp/arbd-1000"),
            tmp_path / "run",
            tmp_path / "run/a-unit",
            tmp_path / "run/b-unit",
        ]

    @pytest.mark.parametrize("has_variable", [True, False])
    def test_it_looks_into_the_directories_of_the_user_s_own_units(self, tmp_path: Path, has_variable: bool) -> None:
        """Also of somebody who has come by ``sudo -u`` or ``cron``, and has no ``$XDG_RUNTIME_DIR``."""
        session = tmp_path / "sessions" / str(USER)
        (session / "arbd/prices").mkdir(parents=True)
        environ = {"XDG_RUNTIME_DIR": str(session)} if has_variable else {}
        found = runtime_dir.for_command(None, environ, USER)
        assert sorted(found) == sorted(
            [session / "arbd", session / "arbd/prices", Path("/tmp/arbd-1000"), tmp_path / "run"]
        )
        assert runtime_dir.for_daemon(None, {}, USER) == Path("/tmp/arbd-1000"), "a daemon goes where it went"

    def test_what_is_given_is_the_only_place(self) -> None:
        assert runtime_dir.for_command("/srv/run", XDG, USER) == [Path("/srv/run")]

    def test_no_place_comes_twice(self, tmp_path: Path) -> None:
        assert runtime_dir.for_command(None, {}, 0) == [
            tmp_path / "run",
            Path("/tmp/arbd-0"),
            tmp_path / "sessions/0/arbd",
        ]


class TestPrepare:
    def test_it_is_made_for_its_user_alone(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            runtime_dir.prepare(tmp_path / "run", os.geteuid())
        finally:
            os.umask(before)
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700

    def test_one_that_is_there_is_left_as_it_is(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        runtime_dir.prepare(tmp_path, os.geteuid())
        assert tmp_path.stat().st_mode & 0o777 == 0o755

    @pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
    def test_one_that_others_can_write_to_is_refused(self, tmp_path: Path, mode: int) -> None:
        place = tmp_path / "run"
        place.mkdir()
        place.chmod(mode)
        with pytest.raises(PermissionError, match=f"others can write into .*{mode:o}.*chmod 700"):
            runtime_dir.prepare(place, os.geteuid())

    def test_one_of_somebody_else_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PermissionError, match="belongs to user"):
            runtime_dir.prepare(tmp_path, os.geteuid() + 1)

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").touch()
        with pytest.raises(NotADirectoryError, match="is no directory"):
            runtime_dir.prepare(tmp_path / "run", os.geteuid())

    def test_a_link_is_refused_where_anybody_may_write(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir(mode=0o700)
        (tmp_path / "run").symlink_to(tmp_path / "target")
        runtime_dir.prepare(tmp_path / "run", os.geteuid())
        tmp_path.chmod(0o1777)
        with pytest.raises(NotADirectoryError):
            runtime_dir.prepare(tmp_path / "run", os.geteuid())

    def test_nothing_is_made_where_the_parent_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            runtime_dir.prepare(tmp_path / "no" / "run", os.geteuid())
