"""Loading the author's code, and what follows from it: a zygote, and the settings that it and the operator give.

operator's layers ──secrets scrubbed──> zygote ──description──> + constructor layer ──> settings

The layers are read for each load that somebody asked for. One that only replaces a process that died goes by those of
before: a file that is half edited must not stand in its way.
"""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

from arbd.core.recycling import RecycleLimits
from arbd.errors import ConfigError
from arbd.host import tags
from arbd.ipc.zygote_protocol import Boot, Configure, LogSettings
from arbd.links.tls_files import read_tls
from arbd.logs import get_logger
from arbd.model.description import Description
from arbd.settings.files import Sources, read_secrets, read_sources, read_token
from arbd.settings.secrets import hub_tokens, own_settings
from arbd.settings.table import Layer, Resolved, Settings, from_constructor, from_flags, resolve
from arbd.supervisor.cpu_share import share_of
from arbd.supervisor.lives import WorkerTimes
from arbd.supervisor.request import RunRequest, zygote_environment
from arbd.supervisor.tracing_needs import require_tracing
from arbd.supervisor.zygote_link import ZygoteLink


class Loaded(NamedTuple):
    """A loaded provider: its zygote, the settings it is to run with, how many seconds it took, and what the operator's
    layers were."""

    zygote: ZygoteLink
    resolved: Resolved
    took_s: float
    sources: Sources | None = None


class Earlier(NamedTuple):
    """What a load that is not the first goes by: the settings in force, and layers that are not to be read again."""

    settings: Settings
    sources: Sources | None = None


async def load(request: RunRequest, before: Earlier | None = None) -> Loaded:
    """Load the target of a request. Raises ``ConfigError`` with all that is wrong, ``ZygoteError``, or ``OSError`` if
    there is no process to be had."""
    started_at = time.monotonic()
    sources = before.sources if before is not None else None
    if sources is None:
        sources = read_sources(request.config_file, os.environ, request.flags.get("env_file"))
    layers = [*sources.layers, from_flags(request.flags)]
    in_force = before.settings if before is not None else None
    early, problems = _operators_view(layers)
    secrets = read_secrets(layers, in_force)
    hidden = [*secrets.texts, *([in_force.hub_auth_token] if in_force else [])]  # a variable may hold the one of before
    target = request.target or (early.target if early else "")
    log = log_settings(early) if early else LogSettings("info", "auto", False)
    try:
        sharing = early if before is None else before.settings
        cpus_each = share_of(sharing).cpus_each if sharing else 1
        generation = tags.new_generation()
        boot = Boot(
            *(target, request.argv, request.script, log, request.open_files, cpus_each, generation, request.watched),
            core_files=early is not None and early.worker_core_files,
        )
        zygote = await ZygoteLink.load(boot, zygote_environment(sources.environ, hidden, cpus_each))
    except ConfigError as exc:
        raise ConfigError([*problems, *exc.problems]) from exc
    try:
        constructor = from_constructor(own_settings(zygote.description.given, hidden, hub_tokens(sources.environ)))
        resolved = resolve([*layers[:-1], constructor, layers[-1]], required=["name"])
        resolved = read_token(resolved, secrets.held or in_force)
        if resolved.settings.tracing == "otel":
            require_tracing(sources.environ, resolved.origin["tracing"])
        if in_force is not None:
            read_tls(resolved.settings)  # at the start, whoever makes the link does
    except BaseException:
        zygote.close()
        zygote.kill()  # it has no workers yet
        raise
    return Loaded(zygote, resolved, time.monotonic() - started_at, sources)


def _operators_view(layers: list[Layer]) -> tuple[Settings | None, list[str]]:
    """The settings before the constructor has spoken. What is wrong now may be overridden, so it is no error yet."""
    try:
        return resolve(layers).settings, []
    except ConfigError as exc:
        return None, exc.problems


def warn(description: Description, resolved: Resolved) -> None:
    """Log the warnings about a provider that was loaded."""
    log = get_logger("arbd.supervisor")
    if resolved.origin["hub.auth_token"] == "constructor":
        log.warning("token_in_source", hint="the hub token is in the provider's code; use PROVIDER_AUTH_TOKEN instead")
    for leftover in description.leftovers:
        cost = {"cost": description.exec_cost} if leftover.by_exec else {}
        log.warning(leftover.event, found=leftover.found, **cost, hint=leftover.hint)
    for warning in resolved.warnings:
        log.warning("setting_retired", warning=warning)
    for problem in description.problems:
        log.warning("provider_problem", problem=problem)


def warn_of_way(settings: Settings) -> None:
    """Log that what goes to the hub can be read on the way, if that is so."""
    if settings.hub_in_clear:
        get_logger("arbd.supervisor").warning(
            "hub_in_clear",
            hub=settings.hub_url,
            reason="token, payloads and results go to another host without TLS: whoever sees the connection has them",
            hint="write grpcs:// in hub.url, or set hub.tls; hub.require_tls = true refuses to start without",
        )


def warn_of_files(settings: Settings) -> None:
    """Log which files of secrets others may read or change."""
    files = {"hub.auth_token_file": settings.hub_auth_token_file, "hub.tls_key": settings.hub_tls_key}
    for name, path in files.items():
        try:
            mode = os.stat(path).st_mode if path is not None else 0
        except OSError:
            continue  # it was there to be read, a moment ago
        if path is not None and stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
            get_logger("arbd.supervisor").warning(
                "secret_file_open",
                setting=name,
                file=path,
                mode=f"{stat.S_IMODE(mode):04o}",
                reason="every user of this machine may read or change it",
                hint=f"chmod 600 {path}",
            )


def log_settings(settings: Settings) -> LogSettings:
    """The log settings of every process of the daemon."""
    return LogSettings(settings.log_level, settings.log_format, settings.log_silent)


def configure_message(settings: Settings) -> Configure:
    """The settings that workers must know, as the message to their zygote."""
    return Configure(
        name=settings.name,
        hub_url=settings.hub_url,
        timezone=settings.timezone,
        execution_timeout=settings.execution_timeout,
        envelope=settings.response_envelope,
        max_result=settings.max_result,
        log=log_settings(settings),
        nan=settings.result_nan,
        reseed=settings.worker_reseed,
        start_timeout=settings.worker_start_timeout,
        stop_timeout=settings.worker_stop_timeout,
        tracing=settings.tracing == "otel",
    )


def worker_limits(settings: Settings) -> tuple[WorkerTimes, RecycleLimits]:
    """What the pool goes by: how long workers may take, and when they are replaced."""
    return WorkerTimes(settings.worker_start_timeout, settings.worker_stop_timeout), RecycleLimits(
        max_tasks=settings.worker_max_tasks,
        max_age_s=settings.worker_max_age,
        max_memory=settings.worker_max_memory,
        max_fds=settings.worker_max_fds,
        memory_limit=settings.worker_memory_limit,
    )
