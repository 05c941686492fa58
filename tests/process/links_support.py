"""A group of real link processes in a test: their settings, and a port of a few lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hub_support import Log, Supervisor

from arbd.links.base import HubLink
from arbd.links.options import link_options
from arbd.links.processes.group import LinkGroup
from arbd.model.encoding import Encoder
from arbd.settings.table import Settings, from_flags, resolve
from arbd.wire.grpc_channel import Tls

TOKEN = "tok-3f9a27c1d84e6b50-very-secret"


def settings_for(hub: str, **values: Any) -> Settings:
    """Settings of a daemon at a hub; link processes that are silent."""
    given = {"name": "prov", "hub.url": hub, "hub.auth_token": TOKEN, "log.silent": True, **values}
    return resolve([from_flags({name.replace("__", "."): value for name, value in given.items()})]).settings


def make_group(settings: Settings, count: int, log: Log | None = None, **options: Any) -> LinkGroup:
    """So many link processes, not yet started."""
    told = link_options(settings, Encoder.of(settings), Tls())
    return LinkGroup(settings, told, count, logger=log or Log(), **options)


@asynccontextmanager
async def running(link: HubLink, supervisor: Supervisor) -> AsyncIterator[None]:
    """A started link, until the end of the block."""
    supervisor.link = link
    await link.start(supervisor)
    try:
        yield
    finally:
        await link.close()
