"""A flame graph is well-formed, needs nothing from anywhere, and no name of the author's code is more than text."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from arbd.control.flame_graph import WIDTH, svg

SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture: str) -> dict[str, tuple[float, float, int]]:
    """Each box by its tooltip: where it begins, its width, and its row."""
    root = ElementTree.fromstring(picture)
    return {
        str(box.findtext(f"{SVG}title")): (
            float(box.attrib["data-x"]),
            float(box.attrib["data-w"]),
            int(box.attrib["data-d"]),
        )
        for box in root.iter(f"{SVG}g")
    }


def test_a_box_is_as_wide_as_it_was_often_seen() -> None:
    found = boxes(svg(Counter({("a", "b"): 3, ("a",): 1, ("c",): 4}), "total"))
    assert found == {
        "all: 8 samples, 100.0%": (0, WIDTH, 0),
        "a: 4 samples, 50.0%": (0, WIDTH / 2, 1),
        "b: 3 samples, 37.5%": (0, WIDTH * 3 / 8, 2),
        "c: 4 samples, 50.0%": (WIDTH / 2, WIDTH / 2, 1),
    }


def test_it_asks_for_nothing_from_anywhere() -> None:
    picture = svg(Counter({("a",): 1}), "total").replace("http://www.w3.org/2000/svg", "")
    assert not any(word in picture for word in ("http", "href", "src=", "url(", "@import"))


def test_nothing_seen_is_a_picture_too() -> None:
    assert boxes(svg(Counter(), "total")) == {}


def test_there_are_never_more_boxes_than_a_browser_draws() -> None:
    wide = Counter({(f"f{number}", *"abcdefghij"): 1 for number in range(10_000)})
    assert len(boxes(svg(wide, "total"))) <= 20_000


@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=1, max_size=5))
def test_whatever_a_name_is_the_picture_is_well_formed(names: list[str]) -> None:
    hostile = [*names, '"><script>alert(1)</script>', "' onload='x", "]]>", "\x1b[2J", "a&b", "\ud800"]
    picture = svg(Counter({tuple(hostile): 1000}), hostile[-6], names[0])
    root = ElementTree.fromstring(picture.encode("utf-8"))
    assert len(list(root.iter(f"{SVG}script"))) == 1
    assert not [each for node in root.iter() for each in node.attrib if each.startswith("on")]
