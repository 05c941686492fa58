"""The choice of a hub link by the settings.

hub.protocol   hub.links   link
stream         (ignored)   GrpcStreamLink
unary          0           GrpcUnaryLink in this process
               N           LinkGroup: N link processes
auto           as unary    AutoLink: the stream, or one of the above at a hub that does not know it
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from arbd.links.auto import AutoLink
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions, link_options
from arbd.links.processes.group import LinkGroup
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.tls_files import read_tls
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.encoding import Encoder
from arbd.settings.table import Settings


def make_link(settings: Settings, encoder: Encoder) -> HubLink:
    """A link as the settings say; ``encoder`` makes the responses that stand for results too large to be sent.

    Raises ``ConfigError`` for a URL that cannot be used or TLS files that cannot be read or used.
    """
    tls = read_tls(settings)
    options = link_options(settings, encoder, tls)
    if settings.hub_protocol == "stream":
        return GrpcStreamLink(options)
    make_unary = _unary_maker(settings, options)
    return make_unary() if settings.hub_protocol == "unary" else AutoLink(options, make_unary)


def _unary_maker(settings: Settings, options: LinkOptions) -> Callable[[], HubLink]:
    if settings.hub_links == 0:
        return partial(GrpcUnaryLink, options)
    return partial(LinkGroup, settings, options, settings.hub_links)
