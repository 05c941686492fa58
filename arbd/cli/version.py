"""``arbd version``: the versions of arbd and of what it stands on, for bug reports."""

from __future__ import annotations

import platform
from typing import Final

import click

from arbd.cli import _show

_PACKAGES: Final = ("grpcio", "msgspec", "protobuf", "psutil", "structlog", "uvloop", "click", "rich", "watchfiles")


@click.command(
    "version",
    short_help="Versions of arbd and what it stands on.",
    epilog="""\b
Examples:
  arbd version                   all of it, for a bug report
  arbd version --json | jq -r .arbd
  arbd --version                 that of arbd alone

The exit code is 0.""",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print the versions of arbd, Python and the packages it stands on."""
    from arbd.tuning.machine import version_of

    versions = {"arbd": version_of("arbd"), "python": platform.python_version(), "platform": platform.platform()}
    versions |= {package: version_of(package) for package in _PACKAGES}
    if as_json:
        _show.json_document(versions)
    else:
        for name, found in versions.items():
            _show.say(f"{name:<11} {found}")
