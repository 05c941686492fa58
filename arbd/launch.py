"""What the command line asks for: to run a target (``RunRequest``), or to tell what is in one (``describe``).

``describe`` loads it as ``run`` would, in a zygote of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from arbd.config import from_environment, secrets_in
from arbd.core.zygote_protocol import Boot, LogSettings
from arbd.description import Description
from arbd.secrets import scrub


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One ``arbd run``. ``flags`` are settings by name; ``script``: TARGET is a script that calls ``start()``;
    ``dev``: start again whenever a source file changes; ``open_files``: the limit of descriptors that actions have,
    where the daemon raises its own, 0: the same."""

    target: str
    argv: list[str] = []
    flags: dict[str, Any] = {}
    config_file: str | None = None
    script: bool = False
    dev: bool = False
    open_files: int = 0


def zygote_environment(environ: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """The environment of the author's processes: the operator's, without what is secret."""
    clean = scrub(environ, secrets)
    clean.pop("NOTIFY_SOCKET", None)  # systemd is told about the daemon by the supervisor alone
    return clean


def describe(place: str, argv: list[str], environ: Mapping[str, str], *, script: bool = False) -> Description:
    """What TARGET holds. Raises ``TargetError`` or ``ZygoteError`` (with the traceback of the author's code)."""
    log = LogSettings(level="warning", format="auto", silent=False)
    secrets = secrets_in([from_environment(environ)])
    return asyncio.run(_describe(Boot(place, argv, script, log), zygote_environment(environ, secrets)))


async def _describe(boot: Boot, environ: Mapping[str, str]) -> Description:
    from arbd.supervisor.zygote_link import ZygoteLink

    link = await ZygoteLink.load(boot, environ)
    link.close()
    await link.wait_gone()
    return link.description
