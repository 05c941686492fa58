"""What is in a target, without running it: it is loaded as ``run`` would, in a zygote of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from arbd.ipc.zygote_protocol import Boot, LogSettings
from arbd.model.description import Description
from arbd.settings.table import from_environment, secrets_in
from arbd.supervisor.request import zygote_environment
from arbd.supervisor.zygote_link import ZygoteLink


def describe(place: str, argv: list[str], environ: Mapping[str, str], *, script: bool = False) -> Description:
    """What TARGET holds. Raises ``TargetError`` or ``ZygoteError`` (with the traceback of the author's code)."""
    log = LogSettings(level="warning", format="auto", silent=False)
    secrets = secrets_in([from_environment(environ)])
    boot = Boot(place, argv, script, log)
    return asyncio.run(_describe(boot, zygote_environment(environ, secrets, boot.worker_cpus)))


async def _describe(boot: Boot, environ: Mapping[str, str]) -> Description:
    link = await ZygoteLink.load(boot, environ)
    link.close()
    await link.wait_gone()
    return link.description
