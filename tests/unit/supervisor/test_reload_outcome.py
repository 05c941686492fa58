"""A reload takes over what can change, keeps the rest and says of each what it was and is; each request is answered."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from arbd.settings.table import REDACTED, Settings, from_flags, resolve
from arbd.supervisor.in_force import InForce
from arbd.supervisor.reload_outcome import ReloadOutcome, Requests, SettingChange, changes


def settings(**flags: Any) -> Settings:
    return resolve([from_flags({name.replace("__", "."): value for name, value in flags.items()})]).settings


def test_reloadable_settings_are_applied_and_the_others_kept_and_named() -> None:
    before = settings(name="a", workers=2, prefetch=5)
    found = changes(before, settings(name="b", workers=2, prefetch=6))
    assert found.settings == settings(name="a", workers=2, prefetch=6)
    assert found.applied == {"prefetch": SettingChange(5, 6)}
    assert found.needs_restart == {"name": SettingChange("a", "b")}


def test_of_a_secret_it_is_told_that_it_changed() -> None:
    before, after = settings(hub__auth_token="old-s3cret"), settings(hub__auth_token="new-s3cret")
    assert changes(before, after).applied == {"hub.auth_token": SettingChange(REDACTED, REDACTED)}
    assert changes(before, settings()).applied == {"hub.auth_token": SettingChange(REDACTED, "")}


def test_an_outcome_answers_every_request_up_to_its_own() -> None:
    async def test() -> None:
        requests = Requests()
        heard: list[ReloadOutcome] = []
        requests.on_reloaded.append(heard.append)
        waits = [asyncio.ensure_future(requests.wait(requests.add())) for _ in range(3)]
        await asyncio.sleep(0)
        second = ReloadOutcome(number=2)
        requests.tell(second)
        await asyncio.sleep(0)
        assert [wait.done() for wait in waits] == [True, True, False]
        third = ReloadOutcome(number=3, failed="the reason")
        requests.tell(third)
        assert [await wait for wait in waits] == [second, second, third]
        assert heard == [second, third]

    asyncio.run(test())


def test_who_gives_up_waiting_keeps_nobody_from_the_answer() -> None:
    async def test() -> None:
        requests = Requests()
        gone, waits = (asyncio.ensure_future(requests.wait(1)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        requests.tell(ReloadOutcome(number=1))
        assert (await waits).number == 1

    asyncio.run(test())


def test_settings_in_force_are_told_in_order_once_they_hold() -> None:
    in_force = InForce(settings())
    told: list[tuple[str, int, int]] = []

    def note(name: str, now: Settings) -> None:
        told.append((name, now.prefetch, in_force.settings.prefetch))

    for name in ("first", "second"):
        in_force.add(partial(note, name))
    in_force.change(settings(prefetch=3))
    assert told == [("first", 3, 3), ("second", 3, 3)]


def test_a_part_may_be_told_of_reloads_apart_and_what_the_next_start_has_is_kept() -> None:
    in_force = InForce(settings())
    told: list[tuple[str, int]] = []
    in_force.add(
        lambda now: told.append(("changed", now.prefetch)), reloaded=lambda now: told.append(("reloaded", now.prefetch))
    )
    in_force.add(lambda now: told.append(("either", now.prefetch)))
    in_force.change(settings(prefetch=3))
    assert in_force.next_start == settings()
    in_force.reload(settings(prefetch=4), settings(prefetch=4, workers=9))
    assert told == [("changed", 3), ("either", 3), ("reloaded", 4), ("either", 4)]
    assert (in_force.settings.workers, in_force.next_start.workers) == ("auto", 9)


def test_where_a_part_changes_them_the_others_hear_of_those_alone() -> None:
    in_force = InForce(settings())
    told: list[int] = []

    def change_once(now: Settings) -> None:
        if now.prefetch == 3:
            in_force.change(settings(prefetch=4))

    in_force.add(change_once)
    in_force.add(lambda now: told.append(now.prefetch))
    in_force.change(settings(prefetch=3))
    assert (told, in_force.settings.prefetch) == ([4], 4)
