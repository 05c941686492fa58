"""A generation is loaded with the operator's settings and the constructor's, and no secret goes where the author's code
runs; whatever cannot be had afterwards, no zygote is left behind. The zygote has no process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from arbd.errors import ConfigError, TargetError, ZygoteError
from arbd.ipc.zygote_protocol import Boot
from arbd.model.description import Description
from arbd.settings.secrets import placeholder
from arbd.settings.table import from_flags, resolve
from arbd.supervisor import loading
from arbd.supervisor.loading import Loaded
from arbd.supervisor.request import RunRequest
from arbd.supervisor.zygote_link import ZygoteLink

TOKEN = "a-token-that-nobody-may-see"


class Zygote:
    """One that was loaded, and whether it was ended."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.description = Description(given, [])
        self.ended: list[str] = []

    def close(self) -> None:
        self.ended.append("close")

    def kill(self) -> None:
        self.ended.append("kill")


class Rig:
    """``given``: what the author wrote into the constructor. ``error``: raised instead of loading."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.given: dict[str, Any] = {"name": "p"}
        self.error: Exception | None = None
        self.zygote: Zygote | None = None
        self.boot: Boot | None = None
        self.environ: Mapping[str, str] = {}
        monkeypatch.setattr(ZygoteLink, "load", self._load)
        monkeypatch.chdir(directory)  # an arbd.toml elsewhere is not meant

    async def _load(self, boot: Boot, environ: Mapping[str, str]) -> Zygote:
        self.boot, self.environ = boot, environ
        if self.error is not None:
            raise self.error
        self.zygote = Zygote(self.given)
        return self.zygote

    def load(self, **words: Any) -> Loaded:
        return asyncio.run(loading.load(RunRequest(**{"target": "desk", **words})))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rig:
    return Rig(monkeypatch, tmp_path)


def test_flags_come_before_the_constructor_and_that_before_the_environment(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBD_PREFETCH", "3")
    monkeypatch.setenv("ARBD_WORKERS", "3")
    monkeypatch.setenv("ARBD_KILL_GRACE", "3")
    rig.given = {"name": "p", "workers": 2, "prefetch": 2}
    loaded = rig.load(flags={"workers": 1})
    settings = loaded.resolved.settings
    assert (settings.workers, settings.prefetch, settings.kill_grace) == (1, 2, 3.0)
    assert loaded.took_s >= 0
    assert rig.zygote is not None
    assert rig.zygote.ended == []


def test_the_target_is_the_request_s_or_else_the_settings_and_goes_with_its_arguments(rig: Rig) -> None:
    rig.load(argv=["--fast"], script=True, open_files=123)
    assert rig.boot is not None
    assert (rig.boot.target, rig.boot.argv, rig.boot.script, rig.boot.open_files) == ("desk", ["--fast"], True, 123)
    rig.load(target="", flags={"target": "other"})
    assert rig.boot.target == "other"


def test_the_token_stays_here_and_counts_all_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_AUTH_TOKEN", TOKEN)
    rig.given = {"name": "p", "hub.auth_token": placeholder(TOKEN)}  # the author's code reads it, and passes it on
    loaded = rig.load()
    assert TOKEN not in "".join(rig.environ.values())
    assert loaded.resolved.settings.hub_auth_token == TOKEN
    assert loaded.resolved.origin["hub.auth_token"] != "constructor"


def test_all_that_is_wrong_is_told_together(rig: Rig) -> None:
    rig.error = TargetError(["there is no such file"])
    with pytest.raises(ConfigError) as caught:
        rig.load(flags={"workers": -1, "log.level": "loud"})
    assert "there is no such file" in caught.value.problems
    assert len(caught.value.problems) == 3


def test_what_the_constructor_overrides_was_not_wrong(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBD_PREFETCH", "many")
    rig.given = {"name": "p", "prefetch": 2}
    try:
        prefetch = rig.load().resolved.settings.prefetch
    except ConfigError as error:
        pytest.fail(f"it was told: {error}")
    assert prefetch == 2


@pytest.mark.parametrize("error", [ZygoteError("the code fails"), OSError(11, "Resource temporarily unavailable")])
def test_what_keeps_a_zygote_from_loading_is_passed_on(rig: Rig, error: Exception) -> None:
    rig.error = error
    with pytest.raises(type(error)):
        rig.load()


@pytest.mark.parametrize(
    "flags",
    [{"workers": -1}, {"name": ""}, {"hub.auth_token_file": "there/is/none"}],
    ids=lambda flags: next(iter(flags)),
)
def test_settings_that_cannot_work_leave_no_zygote(rig: Rig, flags: dict[str, Any]) -> None:
    rig.given = {}
    with pytest.raises(ConfigError):
        rig.load(flags=flags)
    assert rig.zygote is not None
    assert rig.zygote.ended == ["close", "kill"]


def test_workers_are_told_what_they_need_of_the_settings() -> None:
    settings = resolve([from_flags({"name": "p", "hub.url": "hub:1", "log.level": "debug"})]).settings
    configure = loading.configure_message(settings)
    assert (configure.name, configure.hub_url, configure.log.level) == ("p", "hub:1", "debug")
    assert configure.max_result == settings.max_result
    assert TOKEN not in repr(configure)
