"""What is not wrong with a provider or its settings, but worth knowing, is logged at the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arbd.model.description import Description, Leftover
from arbd.settings.table import from_constructor, from_environment, resolve
from arbd.supervisor import loading


def warn(description: Description, **variables: str) -> None:
    loading.warn(description, resolve([from_environment(variables), from_constructor(description.given)]))


def test_nothing_is_said_about_what_is_as_it_should_be(capfd: pytest.CaptureFixture[str]) -> None:
    warn(Description(given={"name": "p"}, actions=[]), ARBD_HUB_LINKS="2")
    assert capfd.readouterr().err == ""


def test_each_thing_has_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    left = [Leftover("threads", ["pool-1"], "start them later", True), Leftover("locks", ["/x"], "hm")]
    description = Description(
        given={"name": "p", "hub.auth_token": "t"}, actions=[], leftovers=left, problems=["it is broken"]
    )
    warn(description, ARBD_HUB_LINKS="auto", ARBD_HUB_PIGGYBACK="1")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "token_in_source"),
        ("warning", "module_starts_threads"),
        ("warning", "module_leaves_locks"),
        ("warning", "setting_retired"),
        ("warning", "setting_retired"),
        ("warning", "provider_problem"),
    ]
    assert lines[1]["found"] == ["pool-1"]
    assert "imports the module again" in lines[1]["cost"]
    assert "cost" not in lines[2]  # it does not forbid a fork


def lines_of(capfd: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    return [(line["event"], line["hint"]) for line in lines]


def test_a_hub_on_another_host_without_tls_has_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    for url in ("hub:1", "127.0.0.1:1", "grpcs://hub:1"):
        loading.warn_of_way(resolve([from_environment({"HUB_GRPC_URL": url})]).settings)
    [(event, hint)] = lines_of(capfd)
    assert event == "hub_in_clear"
    assert "grpcs://" in hint


def test_a_file_of_secrets_that_others_may_read_has_its_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for mode in (0o600, 0o640, 0o644, 0o602):
        file = tmp_path / f"{mode:o}"
        file.touch()
        file.chmod(mode)
        loading.warn_of_files(resolve([from_environment({"ARBD_HUB_AUTH_TOKEN_FILE": str(file)})]).settings)
    loading.warn_of_files(resolve([from_environment({"ARBD_HUB_AUTH_TOKEN_FILE": "/not/there"})]).settings)
    assert lines_of(capfd) == [
        ("secret_file_open", f"chmod 600 {tmp_path}/644"),
        ("secret_file_open", f"chmod 600 {tmp_path}/602"),
    ]
