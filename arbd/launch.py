"""How a provider comes to run: what the command line asks for, what ``provider.start()`` does, how a target is read.

    arbd run TARGET ──> RunRequest ──> arbd.supervisor.main.run
    provider.start() ──> exec: python -m arbd run --script FILE      the same process, a clean memory

``describe`` loads a target as ``run`` would, in a zygote of its own, and tells what is in it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from arbd import target
from arbd.config import from_environment, secrets_in
from arbd.core.zygote_protocol import Boot, LogSettings
from arbd.description import Description
from arbd.errors import ConfigError
from arbd.secrets import scrub

if TYPE_CHECKING:
    from arbd.provider import Provider


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One ``arbd run``. ``flags`` are settings by name; ``script``: TARGET is a script that calls ``start()``;
    ``dev``: start again whenever a source file changes."""

    target: str
    argv: list[str] = []
    flags: dict[str, Any] = {}
    config_file: str | None = None
    script: bool = False
    dev: bool = False


def start(provider: Provider) -> NoReturn:
    """Replace this process by ``arbd run`` of the script it is running; see ``Provider.start``."""
    if target.is_loading():
        raise target.StartReached(provider)
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    # `python -m package` runs the module package.__main__.
    place = spec.name if spec is not None else getattr(main, "__file__", None)
    if place is None:
        raise ConfigError(
            [
                "provider.start() needs a script or a module to run in its own processes, and this is an interactive "
                "session; put the provider into a file, or try it with arbd.testing"
            ]
        )
    sys.stdout.flush()
    sys.stderr.flush()
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # what multiprocessing uses too
    command = [sys.executable, *flags, "-m", "arbd", "run", "--script", place, "--", *sys.argv[1:]]
    os.execv(sys.executable, command)


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
