"""Environment files: lines of ``NAME=VALUE``, as systemd's ``EnvironmentFile=`` and containers have them. Pure.

    # comment, ; comment, and empty lines
    NAME=value            blanks around the value do not count
    NAME="a \\"b\\" c"      in double quotes a backslash escapes ``"``, ``\\``, ``$`` and a backquote
    NAME='a b'            in single quotes nothing does

Not a shell: no expansion, no ``export``, no value over several lines. A problem names the line and never quotes it,
because secrets are kept in such files.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE: Final = re.compile(r"'([^']*)'")
_ESCAPED: Final = re.compile(r'\\(["\\$`])')


class Variables(NamedTuple):
    """What an environment file says, and what is wrong with it; the last of several lines for one name counts."""

    values: dict[str, str]
    problems: list[str]


def parse(text: str, file: str) -> Variables:
    """The variables of a file of this name."""
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, is_pair, raw = stripped.partition("=")
        value = _value(raw.strip())
        if not is_pair or not _NAME.fullmatch(name.rstrip()):
            problems.append(f"{file}: line {number} is not NAME=VALUE")
        elif value is None:
            problems.append(f"{file}: line {number}: the quotes of {name.rstrip()} do not end where the line does")
        elif "\0" in value:
            problems.append(f"{file}: line {number}: {name.rstrip()} holds a zero byte")
        else:
            values[name.rstrip()] = value
    return Variables(values, problems)


def _value(raw: str) -> str | None:
    if raw.startswith('"'):
        match = _DOUBLE.fullmatch(raw)
        return None if match is None else _ESCAPED.sub(r"\1", match[1])
    if raw.startswith("'"):
        match = _SINGLE.fullmatch(raw)
        return None if match is None else match[1]
    return raw
