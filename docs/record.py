"""Records what a command prints as a picture of a terminal: ``docs/demo.svg`` is one of ``arbd demo``.

    make picture        python docs/record.py docs/demo.svg arbd demo

The command really runs, and its figures are those of the machine and the moment.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

WIDTH: Final = 84  # columns: what the tables of the demo need, and what a page of a README shows
_FRONT: Final = (205, 214, 224)
_THEME: Final = TerminalTheme(
    (17, 21, 28),
    _FRONT,
    [
        *((72, 79, 88), (255, 123, 114), (126, 231, 135), (242, 204, 96)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), _FRONT),
    ],
)
# Rich's own frame loads a font from elsewhere, which a picture of a README must not.
_FRAME: Final = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: system-ui, sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def output_of(command: list[str]) -> str:
    """What the command prints on a terminal of ``WIDTH`` columns, without what it says on the way (standard error)."""
    here = Path(sys.executable).parent  # the commands of this environment first
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    environ = {**os.environ, **terminal, "PATH": f"{here}:{os.environ['PATH']}"}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stderr}")
    return ran.stdout


def picture(title: str, output: str) -> str:
    """An SVG of a terminal window that shows this output."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="256")
    console.print(Text.from_ansi(output.strip("\n")))
    drawn = console.export_svg(title=title, theme=_THEME, code_format=_FRAME, unique_id="terminal")
    return "\n".join(line.rstrip() for line in drawn.splitlines() if line.strip()) + "\n"


def main(file: str, *command: str) -> None:
    """Run the command, write the picture."""
    Path(file).write_text(picture(" ".join(command), output_of(list(command))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
