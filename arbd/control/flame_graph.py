"""A flame graph as an SVG file that needs nothing else: the width of a box is how often its function was seen.

    a row below another      was called by it; the first row is the whole
    a click                  the box fills the width; on the first row, or on itself, everything comes back

Names come from the author's code: they are escaped, and no name is ever a script. Pure: stacks in, text out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

import msgspec

from arbd.control.folded_stacks import Folded

WIDTH: Final = 1200
_ROW: Final = 18
_TOP: Final = 60
_CHAR: Final = 6.6  # pixels, of a monospaced font of 11
_THINNEST: Final = 0.1  # pixels: what is narrower is not drawn
_OWN: Final = ("author", "host", "ipc", "logs", "rate_limit", "schema", "worker")
_MOST_BOXES: Final = 20_000

_SCRIPT: Final = """
const boxes = [...document.querySelectorAll("g.box")].map(g => ({g, rect: g.querySelector("rect"),
  text: g.querySelector("text"), x: +g.dataset.x, w: +g.dataset.w, depth: +g.dataset.d, name: g.dataset.n}));
let zoomed = null;
function show(to) {
  for (const b of boxes) {
    const around = b.depth < to.depth && b.x <= to.x + 1e-9 && b.x + b.w >= to.x + to.w - 1e-9;
    const inside = b.depth >= to.depth && b.x >= to.x - 1e-9 && b.x + b.w <= to.x + to.w + 1e-9;
    b.g.style.display = around || inside ? "" : "none";
    if (!around && !inside) continue;
    const x = around ? 0 : (b.x - to.x) / to.w * WIDTH, w = around ? WIDTH : b.w / to.w * WIDTH;
    b.rect.setAttribute("x", x); b.rect.setAttribute("width", Math.max(w - 0.5, 0.1)); b.text.setAttribute("x", x + 3);
    const room = Math.floor((w - 6) / CHAR);
    b.text.textContent = room < 3 ? "" : b.name.length <= room ? b.name : b.name.slice(0, room - 2) + "..";
  }
}
for (const b of boxes) b.g.addEventListener("click", () => {
  zoomed = zoomed === b || b.depth === 0 ? null : b; show(zoomed || boxes[0]);
});
"""


class _Box:
    __slots__ = ("children", "count")

    def __init__(self) -> None:
        self.count = 0
        self.children: dict[str, _Box] = {}


class _Drawn(msgspec.Struct):
    name: str
    count: int
    depth: int
    x: float
    width: float


def svg(stacks: Folded, title: str, subtitle: str = "") -> str:
    """The picture of these stacks."""
    root = _tree(stacks)
    boxes = []
    for box in _boxes("all", root, root.count):
        boxes.append(box)
        if len(boxes) >= _MOST_BOXES:
            break
    height = _TOP + _ROW * (1 + max((box.depth for box in boxes), default=0)) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="monospace" font-size="11">',
        f"<title>{_text(title)}</title>",
        "<style>svg{background:#fff}g.box{cursor:pointer}g.box:hover rect{stroke:#000}text{fill:#111}</style>",
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="16">{_text(title)}</text>',
        f'<text x="{WIDTH / 2}" y="44" text-anchor="middle">{_text(subtitle)}</text>',
        *(_drawn(box, root.count) for box in boxes),
        f"<script>const WIDTH = {WIDTH}, CHAR = {_CHAR};{escape(_SCRIPT)}</script>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _tree(stacks: Folded) -> _Box:
    root = _Box()
    for stack, count in stacks.items():
        at = root
        at.count += count
        for frame in stack:
            at = at.children.setdefault(frame, _Box())
            at.count += count
    return root


def _boxes(name: str, root: _Box, total: int) -> Iterator[_Drawn]:
    """All boxes that can be seen, row by row, so that what is left out is deepest."""
    row = [(name, root, 0.0)]
    depth = 0
    while row:
        below = []
        for frame, box, x in row:
            width = WIDTH * box.count / max(1, total)
            if width < _THINNEST:
                continue
            yield _Drawn(frame, box.count, depth, x, width)
            for child_name, child in sorted(box.children.items()):
                below.append((child_name, child, x))
                x += WIDTH * child.count / total
        row, depth = below, depth + 1


def _drawn(box: _Drawn, total: int) -> str:
    y = _TOP + box.depth * _ROW
    room = int((box.width - 6) / _CHAR)
    shown = "" if room < 3 else box.name if len(box.name) <= room else f"{box.name[: room - 2]}.."
    place = f'data-x="{box.x:.4f}" data-w="{box.width:.4f}" data-d="{box.depth}" data-n="{_text(box.name)}"'
    return (
        f'<g class="box" {place}><title>{_text(box.name)}: {box.count} samples, {box.count / total:.1%}</title>'
        f'<rect x="{box.x:.2f}" y="{y}" width="{max(box.width - 0.5, 0.1):.2f}" height="{_ROW - 1}" rx="2"'
        f' fill="{_colour(box.name)}"/><text x="{box.x + 3:.2f}" y="{y + 13}">{_text(shown)}</text></g>'
    )


def _colour(name: str) -> str:
    """A warm colour, the same for the same function in every picture; arbd's own code is grey."""
    if name == "all" or any(f"/arbd/{each}/" in name for each in _OWN):
        return "#d0d0d0"
    number = zlib.crc32(name.encode("utf-8", "replace"))
    return f"rgb({205 + number % 50},{90 + number // 50 % 120},{number // 6000 % 60})"


def _text(text: str) -> str:
    """A text as XML may hold it: escaped, and without characters that XML has no way to write."""
    return escape("".join(each if each.isprintable() else "?" for each in text), {'"': "&quot;", "'": "&#39;"})
