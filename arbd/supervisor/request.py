"""What the command line asks the supervisor for: to run a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from arbd.host.notify import Notifier
from arbd.ipc.zygote_protocol import Watched
from arbd.settings import thread_variables
from arbd.settings.credentials import DIRECTORY_VARIABLE
from arbd.settings.secrets import scrub


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One ``arbd run``. ``flags`` are settings by name; ``script``: TARGET is a script that calls ``start()``;
    ``dev``: start again whenever a source file changes; ``open_files``: the limit of descriptors that actions have,
    where the daemon raises its own, 0: the same; ``watched``: what a zygote starts a watcher for."""

    target: str
    argv: list[str] = []
    flags: dict[str, Any] = {}
    config_file: str | None = None
    script: bool = False
    dev: bool = False
    open_files: int = 0
    watched: Watched = "zygote"


def zygote_environment(environ: Mapping[str, str], secrets: Iterable[str], threads: int = 0) -> dict[str, str]:
    """The environment of the author's processes: the operator's, without what is secret, and with the number of threads
    for libraries to use; 0: whatever they like."""
    clean = scrub(environ, secrets)
    clean.pop(DIRECTORY_VARIABLE, None)  # where the token lies; an author's own secrets have variables of their own
    Notifier.remove_from(clean)  # systemd is told about the daemon by the supervisor alone
    return {**clean, **thread_variables.missing(environ, threads)} if threads else clean
