"""The command line, run in the test's own process: its exit code, and what it wrote, stdout and stderr apart."""

from __future__ import annotations

import inspect
from typing import Any, Final

from click.testing import CliRunner, Result

from arbd.cli import cli

# click before 8.2 mixes the two streams unless it is told not to; later there is no such choice.
_APART: Final[dict[str, Any]] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def invoke(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
    """What ``arbd ARGUMENTS`` does."""
    return CliRunner(**_APART).invoke(cli, arguments, env=env, input=stdin)
