"""The status page is one file that asks nobody else for anything, and its policy holds a browser to that."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from arbd.control.page import CONTENT_TYPE, HEADERS, page

TEXT = page().body.decode()


def policy() -> dict[str, list[str]]:
    """The directives, with their sources."""
    directives = dict(page().headers)["Content-Security-Policy"].split("; ")
    return {name: sources.split() for name, _, sources in (each.partition(" ") for each in directives)}


class Elements(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements() -> list[tuple[str, dict[str, str | None]]]:
    """Those of the page."""
    parser = Elements()
    parser.feed(TEXT)
    return parser.found


def test_nothing_but_its_own_script_and_style_is_ever_run() -> None:
    assert policy()["default-src"] == ["'none'"]
    assert policy()["connect-src"] == ["'self'"]
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", TEXT, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert policy()[directive] == [f"'sha256-{digest}'"]


def test_no_page_may_frame_it_and_no_form_or_base_leads_away() -> None:
    for directive in ("frame-ancestors", "base-uri", "form-action", "trusted-types"):
        assert policy()[directive] == ["'none'"]
    assert policy()["require-trusted-types-for"] == ["'script'"]


def test_it_names_no_address_but_its_own() -> None:
    """The name of SVG's elements is no address: nobody asks there."""
    assert set(re.findall(r"https?://[^\"'\s]+", TEXT)) == {"http://www.w3.org/2000/svg"}
    targets = [value for _, attrs in elements() for name, value in attrs.items() if name in ("src", "href")]
    assert sorted(set(map(str, targets))) == ["data:,", "metrics", "status.json"]
    assert not re.search(r"@import|url\(", TEXT)


def test_text_of_others_becomes_no_markup() -> None:
    """The ways that would make some of it; the policy refuses them as well."""
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", TEXT)
    assert not [tag for tag, attrs in elements() if any(name.startswith("on") or name == "style" for name in attrs)]


def test_it_is_whole_for_who_cannot_see_it() -> None:
    tags = [tag for tag, _ in elements()]
    assert ("html", {"lang": "en"}) in elements()
    assert {"main", "header", "footer", "h1", "h2", "noscript"} <= set(tags)
    assert tags.count("h1") == 1
    named = {attrs["id"] for _, attrs in elements() if "id" in attrs}
    labelled = {attrs["aria-labelledby"] for _, attrs in elements() if "aria-labelledby" in attrs}
    assert labelled <= named
    assert all({"aria-labelledby", "aria-label"} & attrs.keys() for tag, attrs in elements() if tag == "table")
    assert sum("aria-live" in attrs for _, attrs in elements()) == 1


def test_it_is_told_as_what_it_is() -> None:
    assert CONTENT_TYPE == "text/html; charset=utf-8"
    assert set(HEADERS) <= set(page().headers)
    assert all(name.isascii() and value.isascii() and "\n" not in value for name, value in page().headers)


def test_it_is_small() -> None:
    """It is read from memory at each look, and sent over whatever lies between."""
    assert len(page().body) < 64_000
