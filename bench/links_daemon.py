"""The real daemon with link processes that make tasks up: ``python -m bench.links_daemon WORKERS LINKS SOCKET``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from arbd.links.options import link_options
from arbd.links.processes.group import LinkGroup
from arbd.model.encoding import Encoder
from arbd.settings.table import Settings
from arbd.supervisor.main import Daemon
from arbd.supervisor.request import RunRequest
from arbd.wire.grpc_channel import Tls


def make_link(settings: Settings, encoder: Encoder) -> LinkGroup:
    """A group of sources."""
    options = link_options(settings, encoder, Tls())
    return LinkGroup(settings, options, settings.hub_links, program="bench.link_source")


if __name__ == "__main__":
    workers, links, control = sys.argv[1:]
    flags = {
        "name": "links",
        "workers": workers,
        "pin": False,
        "hub.links": links,
        "control.socket": control,
        "log.level": "error",
    }
    request = RunRequest(target=str(Path(__file__).with_name("links_provider.py")), flags=flags)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(Daemon(request, make_link, owns_process=True).run()))
