"""The environment file counts for every command that looks at a provider: its settings, and what the code sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import invoke

CODE = """
import os
from arbd import Provider

provider = Provider(name=os.environ["MY_NAME"], auth_token=os.environ["MY_TOKEN_COPY"])


@provider.actions.register(name="echo")
def echo():
    return 1
"""


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "desk.py").write_text(CODE)
    (tmp_path / "desk.env").write_text(
        "MY_NAME=desk\nMY_TOKEN_COPY=not-to-be-seen\nPROVIDER_AUTH_TOKEN=not-to-be-seen\nARBD_PREFETCH=7\n"
    )


@pytest.mark.parametrize("command", ["config", "check", "schema"])
def test_code_and_settings_see_its_variables(command: str) -> None:
    result = invoke(command, "desk.py", "--env-file", "desk.env")
    assert result.exit_code == 0
    assert "not-to-be-seen" not in result.output
    assert "desk" in result.output or "echo" in result.output


def test_config_says_where_a_value_comes_from() -> None:
    document = json.loads(invoke("config", "desk.py", "--env-file", "desk.env", "--json").stdout)
    assert document["prefetch"] == {"value": 7, "unit": "tasks", "from": "desk.env ARBD_PREFETCH"}
    assert document["env_file"]["value"] == "desk.env"


def test_one_that_is_not_there_is_a_wrong_setting() -> None:
    result = invoke("config", "--env-file", "gone.env")
    assert result.exit_code == 78
    assert "env_file gone.env: cannot be read" in result.stderr
