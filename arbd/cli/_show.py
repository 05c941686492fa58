"""How commands print: lines, JSON, tables, values for people. The one place where they do.

Names, ids, texts of errors and what hubs say are others' words. Whatever is printed here is made printable first, line
by line (``arbd.printable``), so that none of it controls a terminal or looks like a line of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from arbd.printable import printable, printable_json, printable_lines
from arbd.settings.kinds import show_size
from arbd.settings.table import Setting

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Column, Table

_WIDTH_WITHOUT_TERMINAL: Final = 140
_SHORT: Final = 24  # cells of a column that is shown whole
_BETWEEN: Final = 3  # cells between two columns


class Styled(str):
    """A part of a line in colours, which are arbd's own; made by ``styled``."""


def styled(text: str, **look: Any) -> Styled:
    """Text of others in colours. ``look``: as ``click.style`` takes it."""
    return Styled(click.style(printable(text), **look))


def say(*lines: str | Sequence[str], err: bool = False, file: IO[Any] | None = None) -> None:
    """Print lines, each a text or its parts; without any, an empty one. What a text has of line breaks is no line."""
    click.echo("\n".join(map(_line, lines)), err=err, file=file)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text that has lines of its own, such as a traceback."""
    click.echo(printable_lines(text), err=err)


def _line(line: str | Sequence[str]) -> str:
    parts = (line,) if isinstance(line, str) else line
    return "".join(part if isinstance(part, Styled) else printable(part) for part in parts)


def json_document(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(printable_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def json_line(value: Any) -> None:
    """Print a value as JSON in one line."""
    click.echo(json_text(value))


def json_text(value: Any) -> str:
    """A value as JSON in one line."""
    return printable_json(msgspec.json.encode(value).decode())


def clear() -> None:
    """Clear the terminal, if it is one."""
    click.clear()


def table(columns: Sequence[str | Column], rows: Iterable[Sequence[str]], **look: Any) -> None:
    """Print a table; as wide as the terminal, or 140 columns where there is none. Words and figures are never cut: a
    terminal that is narrower wraps the lines."""
    printed, found = drawn(columns, rows, **look), console()
    found.width = max(found.width, _keep_short(printed))
    found.print(printed)


def _keep_short(table: Table) -> int:
    """Have long columns alone give way where there is too little room; the width that is needed then."""
    from rich.cells import cell_len

    needed = 0
    for column in table.columns:
        longest = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
        column.no_wrap = longest <= _SHORT
        needed += min(longest, _SHORT) + _BETWEEN
    return needed


def drawn(columns: Sequence[str | Column], rows: Iterable[Iterable[RenderableType]], **look: Any) -> Table:
    """A table, not yet printed. ``look``: what ``rich.table.Table`` takes, where it is to look otherwise than ours."""
    from rich import box
    from rich.table import Table

    ours: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False}
    table = Table(*columns, **ours | look)
    for row in rows:
        table.add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def console() -> Console:
    """A console on standard output. Text is printed as it is: no markup, no colours for numbers."""
    from rich.console import Console

    found = Console(highlight=False, markup=False)
    width = None if found.is_terminal else _WIDTH_WITHOUT_TERMINAL
    return Console(highlight=False, markup=False, width=width)


def value(setting: Setting, shown: Any) -> str:
    """A setting's value with its unit, sizes in binary units, ``-`` for what is not set."""
    if shown is None or shown == "":
        return "-"
    if isinstance(shown, bool):
        return "true" if shown else "false"
    if setting.unit == "bytes":
        return show_size(shown)
    number = f"{shown:g}" if isinstance(shown, float) else str(shown)
    return f"{number} {setting.unit}".rstrip()


def fields(schema: dict[str, Any]) -> str:
    """The top-level fields of a JSON Schema in one line, such as ``a: integer, b?: string``."""
    root = _follow(schema, schema)
    required = root.get("required", ())
    named = root.get("properties", {}).items()
    listed = [f"{name}{'' if name in required else '?'}: {_type(part, schema)}" for name, part in named]
    return ", ".join(listed) or "anything"


def _type(part: Any, schema: dict[str, Any]) -> str:
    part = _follow(part, schema)
    if "const" in part or "enum" in part:
        return " | ".join(msgspec.json.encode(word).decode() for word in part.get("enum", [part.get("const")]))
    options = part.get("anyOf") or part.get("oneOf")
    if options:
        return " | ".join(_type(option, schema) for option in options)
    kind = part.get("type", "any")
    if kind == "array":
        return f"[{_type(part.get('items', {}), schema)}]"
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def _follow(part: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """A ``$ref`` within the document leads to what it names; ``true`` is a schema that allows anything."""
    if not isinstance(part, dict):
        return {}
    reference = part.get("$ref", "")
    if not reference.startswith("#/"):
        return part
    found: Any = schema
    for step in reference[2:].split("/"):
        found = found.get(step, {})
    return found if isinstance(found, dict) else {}
