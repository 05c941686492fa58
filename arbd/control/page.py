"""The status page as it is sent: one file without anything from elsewhere, and the headers that hold a browser to that.

Its script and its style stand in the file. The policy names them by their hashes, so that nothing else is ever run,
whatever text of others the page shows; ``require-trusted-types-for`` forbids the script itself to make markup of text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

_INLINE: Final = "<{tag}>(.*?)</{tag}>"

CONTENT_TYPE: Final = "text/html; charset=utf-8"
#: Of everything that is for this page's eyes: nobody else's page may embed it, or learn from where it was opened.
HEADERS: Final = (("Referrer-Policy", "no-referrer"), ("Cross-Origin-Resource-Policy", "same-origin"))


class Page(NamedTuple):
    """The body of a page and its headers."""

    body: bytes
    headers: tuple[tuple[str, str], ...]


@cache
def page() -> Page:
    """The status page."""
    body = files("arbd.control").joinpath("page.html").read_bytes()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes('script', body)}",
            f"style-src {_hashes('style', body)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return Page(body, (("Content-Security-Policy", policy), *HEADERS))


def _hashes(tag: str, body: bytes) -> str:
    """The sources that a policy allows: what stands inline in these elements."""
    inline = re.findall(_INLINE.format(tag=tag).encode(), body, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inline)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
