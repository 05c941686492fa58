"""What a service manager gives counts below everything else; a credential that a setting names is required."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.errors import ConfigError
from arbd.links.tls_files import read_tls
from arbd.settings.credentials import SETTING_OF
from arbd.settings.files import read_layers, read_token
from arbd.settings.table import Resolved, from_constructor, resolve


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The credentials' directory; the working directory is another."""
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "credentials" / "arbd@prices.service"
    found.mkdir(parents=True)
    return found


def resolved(directory: Path | None, *, toml: str = "", environ: dict[str, str] | None = None) -> Resolved:
    Path("arbd.toml").write_text(toml)
    passed = {"CREDENTIALS_DIRECTORY": str(directory)} if directory else {}
    return read_token(resolve(read_layers(None, {**passed, **(environ or {})})))


def put(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text(f"the {name}\n")


def test_credentials_that_are_there_are_used(directory: Path) -> None:
    put(directory, *SETTING_OF)
    found = resolved(directory)
    settings = found.settings
    assert settings.hub_auth_token == "the token"
    assert [settings.hub_tls_ca, settings.hub_tls_cert, settings.hub_tls_key] == [
        str(directory / name) for name in ("tls_ca", "tls_cert", "tls_key")
    ]
    assert settings.hub_uses_tls
    assert found.origin["hub.auth_token_file"] == "credential token"
    assert found.origin["hub.tls_key"] == "credential tls_key"


@pytest.mark.parametrize("with_directory", [True, False])
def test_those_that_are_not_there_change_nothing(directory: Path, with_directory: bool) -> None:
    put(directory, "something_else")
    found = resolved(directory if with_directory else None)
    assert found.settings == resolve([]).settings


def test_a_directory_that_is_gone_or_empty_changes_nothing(tmp_path: Path) -> None:
    assert resolved(tmp_path / "gone").settings == resolve([]).settings
    assert resolved(None, environ={"CREDENTIALS_DIRECTORY": "", "STATE_DIRECTORY": ""}).settings == resolve([]).settings


def test_a_directory_of_that_name_is_no_credential(directory: Path) -> None:
    (directory / "token").mkdir()
    assert resolved(directory).settings == resolve([]).settings


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        ('[hub]\nauth_token = "other"\n', {}),
        ('[hub]\nauth_token_file = "mine"\n', {}),
        ("", {"PROVIDER_AUTH_TOKEN": "other"}),
        ("", {"ARBD_HUB_AUTH_TOKEN_FILE": "mine"}),
    ],
)
def test_whatever_else_is_set_counts_instead(directory: Path, toml: str, environ: dict[str, str]) -> None:
    put(directory, "token")
    Path("mine").write_text("other")
    assert resolved(directory, toml=toml, environ=environ).settings.hub_auth_token == "other"


def test_so_does_the_constructor(directory: Path) -> None:
    put(directory, "token")
    layers = read_layers(None, {"CREDENTIALS_DIRECTORY": str(directory)})
    found = read_token(resolve([*layers, from_constructor({"hub.auth_token": "other"})]))
    assert found.settings.hub_auth_token == "other"


def test_a_certificate_without_its_key_is_told(directory: Path) -> None:
    put(directory, "tls_cert")
    with pytest.raises(ConfigError, match=r"^credential tls_cert: hub.tls_cert is set without hub.tls_key"):
        resolved(directory)


def test_tls_that_is_off_beside_a_credential_is_told(directory: Path) -> None:
    put(directory, "tls_ca")
    with pytest.raises(ConfigError, match=r"credential tls_ca: hub.tls is off, but hub.tls_ca is set"):
        resolved(directory, toml='hub.tls = "off"\n')


def test_an_empty_token_is_told(directory: Path) -> None:
    (directory / "token").write_text("\n")
    with pytest.raises(
        ConfigError, match=r"^credential token: hub.auth_token_file .* must hold the token, on one line"
    ):
        resolved(directory)


class TestNamed:
    @pytest.mark.parametrize("written", ["$CREDENTIALS_DIRECTORY/mine", "${CREDENTIALS_DIRECTORY}/mine"])
    @pytest.mark.parametrize("by_environment", [True, False])
    def test_one_that_is_there(self, directory: Path, written: str, by_environment: bool) -> None:
        put(directory, "mine", "token")
        toml = "" if by_environment else f'hub.auth_token_file = "{written}"\n'
        found = resolved(
            directory, toml=toml, environ={"ARBD_HUB_AUTH_TOKEN_FILE": written} if by_environment else None
        )
        assert found.settings.hub_auth_token == "the mine"
        assert found.origin["hub.auth_token_file"].endswith(", credential mine")

    def test_one_that_is_missing_is_told_with_its_name_and_place(self, directory: Path) -> None:
        put(directory, "token")  # another one does not stand in for it
        with pytest.raises(ConfigError) as caught:
            resolved(directory, toml='hub.auth_token_file = "$CREDENTIALS_DIRECTORY/mine"\n')
        assert caught.value.problems == [
            f"arbd.toml, credential mine: hub.auth_token_file {directory}/mine cannot be read: No such file or "
            "directory: a credential is passed by LoadCredential= of the unit, if what that names was there at the "
            "start"
        ]

    def test_one_while_none_were_passed(self) -> None:
        with pytest.raises(ConfigError, match=r"this process was given no credentials \(\$CREDENTIALS_DIRECTORY"):
            resolved(None, toml='hub.auth_token_file = "$CREDENTIALS_DIRECTORY/token"\n')

    @pytest.mark.parametrize("passed", [True, False])
    def test_files_of_tls_are_told_all_at_once(self, directory: Path, passed: bool) -> None:
        names = ("tls_ca", "tls_cert", "tls_key")
        toml = "".join(f'hub.{name} = "$CREDENTIALS_DIRECTORY/my_{name}"\n' for name in names)
        with pytest.raises(ConfigError) as caught:
            read_tls(resolved(directory if passed else None, toml=toml).settings)
        assert [problem.partition(":")[0] for problem in caught.value.problems] == [f"hub.{name}" for name in names]
        assert all("LoadCredential= of" in problem for problem in caught.value.problems)

    def test_other_settings_are_taken_as_they_are_written(self, directory: Path) -> None:
        assert resolved(directory, toml='target = "$CREDENTIALS_DIRECTORY/x"\n').settings.target.startswith("$")


@pytest.mark.parametrize(
    ("given", "found"), [("/var/lib/arbd/prices", "/var/lib/arbd/prices"), ("/a:/b", "/a"), (":/b", "/b")]
)
def test_the_state_directory_is_the_service_manager_s(given: str, found: str) -> None:
    seen = resolved(None, environ={"STATE_DIRECTORY": given})
    assert (seen.settings.state_dir, seen.origin["state_dir"]) == (found, "environment STATE_DIRECTORY")


def test_unless_the_settings_name_one() -> None:
    assert resolved(None, toml='state_dir = "/own"\n', environ={"STATE_DIRECTORY": "/a"}).settings.state_dir == "/own"


def test_a_directory_that_cannot_be_looked_into_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(
        ConfigError, match=r"environment CREDENTIALS_DIRECTORY: .*/token cannot be read: Permission denied"
    ):
        resolved(directory)
