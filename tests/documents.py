"""The documents of this repository, read: their blocks, commands, links, headings and tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
#: The front page and the pages behind it: what stands there is run.
PAGES: Final = ("README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
#: Everything whose links are looked at.
DOCUMENTS: Final = (*PAGES, "CHANGELOG.md", "bench/README.md", "bench/peers/peers.md")

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"# (\w+\.py)\n")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """A fenced block. ``file``: the name that its first line gives it, or none."""

    language: str
    text: str
    file: str


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, *languages: str) -> list[Block]:
    """The document's blocks in these languages, in order."""
    found = [(match[1], match[2], _FILE.match(match[2])) for match in _BLOCK.finditer(text_of(document))]
    return [Block(language, text, file[1] if file else "") for language, text, file in found if language in languages]


def commands(document: str) -> list[str]:
    """Every line of the document's shell blocks."""
    return [line for block in blocks(document, "sh") for line in block.text.splitlines()]


def prose(document: str) -> str:
    """The document without its blocks."""
    return _BLOCK.sub("", text_of(document))


def inline_code(document: str) -> list[str]:
    """What stands in backticks outside of blocks, line breaks as spaces, the ``\\|`` of tables as ``|``."""
    return [" ".join(code.replace(r"\|", "|").split()) for code in _INLINE.findall(prose(document))]


def links(document: str) -> list[str]:
    """Where the document's links and pictures lead."""
    return _LINK.findall(_INLINE.sub("", prose(document)))


def anchors(document: str) -> list[str]:
    """The names by which the document's headings can be linked: lower case, punctuation dropped, spaces as dashes."""
    plain = (heading.strip().lower() for heading in _HEADING.findall(prose(document)))
    return [re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain]


def section(document: str, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    parts = re.split(r"^#+ (.*)$", text_of(document), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without those of headings and rules."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    rules = [number for number, row in enumerate(cells) if all(re.fullmatch(r"[:-]+", cell) for cell in row)]
    return [row for number, row in enumerate(cells) if number not in rules and number + 1 not in rules]
