"""The status page in a real browser: what it shows, to whom it talks, and what becomes of text that is no text."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_support import Browser, browser, needs_browser
from page_support import HOSTILE, busy_day, serving_page

pytestmark = needs_browser
SHOWN = "document.querySelectorAll('#workers tbody tr').length > 3"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests here: to start it takes seconds."""
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def seen(window: Browser) -> Iterator[Browser]:
    """It, on a wide and light screen, with nothing in its logs."""
    window.open("about:blank")
    window.resize(1280, 1100)
    window.prefer("light")
    window.log("browser")
    window.log("performance")
    yield window
    window.open("about:blank")


def rows(window: Browser, table: str) -> list[list[str]]:
    """The cells of a table."""
    script = (
        f"return [...document.querySelectorAll('#{table} tbody tr')].map(r => [...r.children].map(c => c.innerText))"
    )
    found: list[list[str]] = window.run(script)
    return found


def test_it_says_all_that_the_document_says(seen: Browser) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert seen.text("h1") == "prices"
        assert seen.text("#state") == "serving"
        workers = rows(seen, "workers")
        assert [row[0] for row in workers] == [f"{slot}" for slot in range(9)]
        assert workers[1][:4] == ["1", "serving", "4101", "1"]
        assert workers[1][-1] == "resize for 400 ms of 30 s"
        assert workers[8][1] == "out of service"
        assert "no memory for a fork" in workers[8][-1]
        quote = rows(seen, "actions")[0]
        assert quote == ["quote", "812", "5,686,800", "0", "0", "0", "1", "412 µs", "1.7 ms", "137 µs", "30 s"]
        limits = rows(seen, "limits")
        assert [row[0] for row in limits] == ["quotes", "gpu", "shared"]
        assert limits[1][1] == "3 calls in any 60 s"
        assert seen.run("return document.querySelector('#short').hidden")
        assert [row[0] for row in rows(seen, "replaced")] == ["3", "1"]
        assert [row[0] for row in rows(seen, "events")] == ["worker_died", "hub_lost", "daemon_started"]
        assert "hub.example:50051" in seen.text("#hub")
        assert seen.text("#p50") == "2.0 ms"


def test_it_asks_nobody_else_and_has_no_error(seen: Browser) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        seen.wait("performance.getEntriesByName(new URL('status.json', location).href).length > 1")
        asked = {url for url in seen.requested() if not url.startswith(("chrome:", "data:", "about:"))}
        assert asked == {made.address, f"{made.address}status.json"}
        assert seen.log("browser") == []


def test_text_of_others_is_text(seen: Browser) -> None:
    document = busy_day()
    status = document["status"]
    status["provider"] = status["hub"] = HOSTILE
    status["link"]["state"] = status["link"]["protocol"] = status["version"] = HOSTILE
    status["workers"][0]["state"] = HOSTILE
    status["paused"] = [{"action": HOSTILE, "waiting": 1, "refused": 0, "for_s": 1}]
    document["limits"][0] = {"name": HOSTILE, "rule": HOSTILE, "usage": HOSTILE, "allowed": HOSTILE, "refused": HOSTILE}
    document["problems"] = [HOSTILE]
    document["events"] = [{"number": 9, "ago_s": 1, "level": HOSTILE, "event": HOSTILE, "fields": {HOSTILE: [HOSTILE]}}]
    with serving_page(document) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert seen.text("h1") == HOSTILE
        assert rows(seen, "actions")[3][0] == HOSTILE
        assert rows(seen, "events")[0][0] == HOSTILE
        assert seen.run("return document.querySelectorAll('img, main script, iframe').length") == 0
        assert "owned" not in seen.run("return document.title").replace(HOSTILE, "")
        assert seen.log("browser") == []


def test_what_no_line_shows_is_written_out(seen: Browser) -> None:
    document = busy_day()
    document["actions"] = []
    document["status"]["actions"] = [{"name": "pay\u202egnp\u0007\nnow"}]
    with serving_page(document) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert rows(seen, "actions")[0][0] == "pay\\u{202e}gnp\\u{7}\\u{a}now"


def test_its_policy_refuses_a_script_that_came_in(seen: Browser) -> None:
    """If text ever became markup, it would still not run."""
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        refused = "try { document.body.innerHTML = '<b>x</b>'; return 'taken'; } catch (e) { return e.name; }"
        assert seen.run(refused) == "TypeError"
        assert seen.run("return document.querySelectorAll('h1').length") == 1


@pytest.mark.parametrize("width", [320, 360, 414, 768, 1024, 1280])
def test_nothing_is_wider_than_the_screen(seen: Browser, width: int) -> None:
    document = busy_day(workers=64)
    document["status"]["hub"] = "h" * 180
    document["status"]["replacements"][0]["detail"] = "d" * 300
    seen.resize(width, 780, is_phone=width < 500)
    with serving_page(document) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert seen.run("return document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('main *, header *')].filter(e => e.closest('.unseen, thead') === null"
        wide += f" && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 100))"
        assert seen.run(f"return {wide}") == []


def test_a_table_on_a_phone_is_still_one_for_who_hears_it(seen: Browser) -> None:
    seen.resize(360, 780, is_phone=True)
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        nodes = seen.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        assert {"table", "row", "cell", "rowheader", "columnheader"} <= set(roles)
        assert roles.count("table") >= 5


def test_dark_is_dark_and_light_is_light(seen: Browser, tmp_path: Path) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        picture = tmp_path / "seen.png"
        found = {}
        for scheme in ("light", "dark"):
            seen.prefer(scheme)
            seen.picture(picture)
            found[scheme] = first_pixel(picture.read_bytes())
        assert min(found["light"]) > 200
        assert max(found["dark"]) < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(seen: Browser, scheme: str) -> None:
    """As WCAG asks of text: a contrast of 4.5 at least."""
    seen.prefer(scheme)
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        names = ["ink", "soft", "accent", "good", "warn", "bad", "ground", "sheet"]
        style = "getComputedStyle(document.documentElement)"
        found = seen.run(f"return {names!r}.map(n => {style}.getPropertyValue('--' + n).trim())")
        colours = dict(zip(names, found, strict=True))
        for name in names[:6]:
            assert contrast(colours[name], colours["sheet"]) >= 4.5, name
        assert contrast(colours["soft"], colours["ground"]) >= 4.5


def test_it_says_when_nobody_answers_any_more_and_when_somebody_does(seen: Browser) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert seen.run("return document.querySelector('#gone').hidden")
        document, made.document = made.document, None
        seen.wait("!document.querySelector('#gone').hidden")
        assert "last seen" in seen.text("#gone")
        assert seen.text("#state") == "no answer"
        assert seen.run("return document.title") == "(no answer) prices · arbd"
        assert seen.run("return document.querySelector('#told').textContent") == "The daemon does not answer any more."
        made.document = document
        seen.wait("document.querySelector('#gone').hidden")
        assert seen.text("#state") == "serving"


def test_a_supervisor_that_hangs_is_told_from_a_server_that_is_gone(seen: Browser) -> None:
    """The server answers, and what it knows is old."""
    with serving_page({**busy_day(), "age_s": 12.4}) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert "last seen 12 s ago" in seen.text("#gone")
        assert "the supervisor has told it nothing" in seen.text("#gone")


def test_before_there_is_a_first_report_it_says_so(seen: Browser) -> None:
    with serving_page({"at": None, "status": None, "problems": ["it is starting"], "history": []}) as made:
        seen.open(made.address)
        seen.wait("!document.querySelector('#gone').hidden")
        assert "it is starting" in seen.text("#gone")
        made.document = busy_day()
        seen.wait(SHOWN)
        assert seen.run("return document.querySelector('#gone').hidden")


def test_what_is_wrong_is_said_in_words(seen: Browser) -> None:
    with serving_page({**busy_day(), "problems": ["the hub hub.example:50051 is not reached"]}) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert seen.text("#wrong") == "It takes no tasks: the hub hub.example:50051 is not reached."
        assert seen.run("return document.title") == "(trouble) prices · arbd"


def test_lists_that_are_too_long_are_not_there_and_it_is_said(seen: Browser) -> None:
    document = busy_day()
    document.update(is_shortened=True, limits=[], events=[], actions=[])
    document["status"]["actions"] = []
    with serving_page(document) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert seen.text("#short").startswith("There are too many actions, limits or events for this page")
        assert seen.text("#state") == "serving"


def test_an_older_or_later_daemon_is_shown_as_far_as_it_tells(seen: Browser) -> None:
    bare: dict[str, Any] = {"provider": "old", "pid": 1, "state": "pondering", "workers": [{"slot": 0, "pid": 7}]}
    with serving_page({"at": 1, "status": bare}) as made:
        seen.open(made.address)
        seen.wait("document.querySelectorAll('#workers tbody tr').length == 1")
        assert seen.text("#state") == "pondering"
        assert seen.log("browser") == []


def test_rows_are_sorted_by_a_click_or_a_key_and_stay_so(seen: Browser) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        seen.run("document.querySelectorAll('#workers thead button')[2].focus(); document.activeElement.click()")
        assert rows(seen, "workers")[0][0] == "7"
        assert (
            seen.run("return document.querySelector('#workers [aria-sort]').getAttribute('aria-sort')") == "descending"
        )
        before = seen.run("return performance.getEntriesByType('resource').length")
        seen.wait(f"performance.getEntriesByType('resource').length > {before} + 1")
        assert rows(seen, "workers")[0][0] == "7"
        assert seen.run("return document.activeElement.tagName") == "BUTTON"


def test_many_actions_can_be_filtered_by_name(seen: Browser) -> None:
    document = busy_day()
    document["status"]["actions"] = [{"name": f"action_{number}", "success": number} for number in range(200)]
    with serving_page(document) as made:
        seen.open(made.address)
        seen.wait("document.querySelectorAll('#actions tbody tr').length == 200")
        seen.run("const f = document.querySelector('#filter'); f.value = '_19'; f.dispatchEvent(new Event('input'))")
        assert len(rows(seen, "actions")) == 11
        assert seen.text("#actions-note").startswith("11 of 200")


def test_a_gap_in_the_history_is_a_gap_in_the_chart(seen: Browser) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        assert (
            seen.run("return document.querySelectorAll('.plot path:not(.area)')[0].getAttribute('d').split('M').length")
            == 3
        )


def test_arrow_keys_read_a_chart_back_in_time(seen: Browser) -> None:
    with serving_page(busy_day()) as made:
        seen.open(made.address)
        seen.wait(SHOWN)
        key = "document.querySelector('.plot').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
        seen.run(f"{key}; {key};")
        assert seen.text(".chart .when").startswith("at ")
        assert "; at " in seen.run("return document.querySelector('.plot').getAttribute('aria-label')")


# -- colours ---------------------------------------------------------------------------------------------------


def first_pixel(png: bytes) -> tuple[int, int, int]:
    """Red, green and blue of the upper left corner: of its row nothing is predicted from before."""
    at, data, channels = 8, b"", 3
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IHDR":
            channels = {2: 3, 6: 4}[png[at + 17]]
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    red, green, blue = zlib.decompress(data)[1 : 1 + channels][:3]
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Of #rrggbb."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
