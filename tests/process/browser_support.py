"""A headless Chromium, driven by chromedriver over its HTTP interface (WebDriver): what a person at the page sees.

Not a general client: the few commands that the tests of the status page need. The browser has a profile of its own in a
temporary directory and no host but loopback to talk to; what it asks for is in its log of the network all the same.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError

import pytest
from daemon_support import eventually

CHROMIUM: Final = shutil.which("chromium")
CHROMEDRIVER: Final = shutil.which("chromedriver")
REQUIRED: Final = os.environ.get("TESTS_REQUIRE_BROWSER") == "1"  # .ci/run: no browser is a failure there

needs_browser: Final = pytest.mark.skipif(
    not (REQUIRED or (CHROMIUM and CHROMEDRIVER)),
    reason="NOT TESTED: the status page in a browser; install Debian's chromium and chromium-driver",
)

_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


class Browser:
    """One window of a browser."""

    def __init__(self, driver: str, session: str) -> None:
        self._url = f"{driver}/session/{session}"

    def _call(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        return _call(f"{self._url}{path}", body, method)

    def close(self) -> None:
        """End it."""
        self._call("", method="DELETE")

    def open(self, url: str) -> None:
        """Go to a page."""
        self._call("/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a function with this body gives, in the page."""
        return self._call("/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the browser's own protocol."""
        return self._call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Have the page be so large, in CSS pixels."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.devtools("Emulation.setDeviceMetricsOverride", **screen)

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What has been logged since this was asked last; of the ``browser``'s console, or its ``performance``."""
        found: list[dict[str, Any]] = self._call("/se/log", {"type": kind})
        return found

    def requested(self) -> set[str]:
        """The addresses that were asked for since this was asked last."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return {
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        }

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the ``whole`` page, as PNG."""
        data = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def text(self, selector: str) -> str:
        """The text of the first element that is found, as it is seen."""
        return str(self.run(f"return document.querySelector({json.dumps(selector)}).innerText"))

    def wait(self, condition: str, timeout_s: float = 20.0) -> Any:
        """Wait until an expression is true in the page; its value."""
        return eventually(lambda: self.run(f"return {condition}"), timeout_s)


def _call(url: str, body: dict[str, Any] | None, method: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with _OPENER.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.read().decode()[:2000]}") from None


_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser with its files in this directory."""
    assert None not in (CHROMIUM, CHROMEDRIVER), "no browser here: install Debian's chromium and chromium-driver"
    with _chromedriver(directory) as driver:
        window = Browser(driver, _new_session(driver, directory))
        try:
            yield window
        finally:
            window.close()


@contextmanager
def _chromedriver(directory: Path) -> Iterator[str]:
    log = directory / "chromedriver.log"
    with log.open("wb") as out:
        # HOME: whatever the browser writes beside its profile ends with the test.
        env = {**os.environ, "HOME": str(directory), "TMPDIR": str(directory)}
        process = subprocess.Popen([str(CHROMEDRIVER), "--port=0"], stdout=out, stderr=out, env=env)
    try:
        yield eventually(lambda: _address(log), 20)
    finally:
        process.terminate()
        process.wait(20)


def _address(log: Path) -> str | None:
    """It says on which port it listens."""
    told = log.read_text().rpartition("started successfully on port ")[2].split(".")[0]
    if not told.isdigit():
        return None
    address = f"http://127.0.0.1:{told}"
    try:
        return address if _call(f"{address}/status", None, "GET")["ready"] else None
    except URLError:
        return None


def _new_session(driver: str, directory: Path) -> str:
    options = {"binary": CHROMIUM, "args": [*_FLAGS, f"--user-data-dir={directory / 'profile'}"]}
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }
    answer = _call(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}}, "POST")
    return str(answer["sessionId"])
