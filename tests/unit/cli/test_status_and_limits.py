"""``arbd status`` and ``arbd limits``: what a report looks like to people and to programs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_support import invoke
from click.testing import Result

from arbd.cli import _daemon
from arbd.control import client as control
from arbd.control.protocol import ControlReply, GetLimits, GetStatus, LimitsReply, StatusReply
from arbd.control.reports import (
    ActionReport,
    Holding,
    LimitReport,
    OutOfService,
    PausedAction,
    Rejection,
    Replacement,
    RunningTask,
    StatusReport,
    WorkerReport,
)
from arbd.errors import ControlError
from arbd.model.link_stats import LinkStats
from arbd.settings.table import Settings

STATUS = StatusReport(
    provider="prices",
    version="0.1.0",
    pid=41,
    state="serving",
    uptime_s=11_530.0,
    hub="hub:50051",
    link=LinkStats("down", tasks=120, accepted=1, failures={"GetTask UNAVAILABLE": 3}),
    workers=[
        WorkerReport(
            *(0, 42, (2, 3), "serving", 100.0, 60, 41.0, 20.0, 1, RunningTask("t9", "total", 0.25, 2.0)),
            rss=(51 << 20) + 4096,
            descriptors=12,
            generation=3,
        ),
        WorkerReport(1, 0, (), "starting", 0.0, 0, 0.0, 0.0, 0),
    ],
    in_flight=3,
    backlog=1,
    outbox=1,
    outbox_limit=10_000,
    verdicts={"success": 118, "error": 2, "limit": 0},
)
LIMITS = LimitsReply(
    provider="prices",
    limits=[
        LimitReport(
            name="provider",
            scope="provider",
            rule="2 calls in any second",
            rate=2.0,
            usage=1.0,
            holdings=[Holding(0, 5, 4, 1), Holding(1, 2, 2, 0)],
            rejections=17,
            last_rejections=[Rejection(0.25, 0.4, 1), Rejection(75.0, 0.012)],
        ),
        LimitReport("cpu", "action", "0.5 s of CPU per second", None, 0.25, [], "wait", actions=["total", "risk"]),
    ],
)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the daemon is to answer next, one reply after the other; and whom the command asked."""
    replies: list[Any] = []

    def find(name: str | None, settings: Settings) -> Path:
        return Path(f"/run/{name}.sock")

    def ask(path: Path, request: object, expected: type[ControlReply], timeout_s: float = 5.0) -> ControlReply:
        reply = replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, expected)
        asked.append((path, request))
        return reply

    asked: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(control, "find", find)
    monkeypatch.setattr(control, "ask", ask)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    replies.append(asked)
    return replies


def arbd(*arguments: str) -> Result:
    return invoke(*arguments)


def answered(daemon: list[Any], reply: ControlReply, *arguments: str) -> tuple[Result, list[Any]]:
    asked = daemon.pop(0)
    daemon.append(reply)
    return arbd(*arguments), asked


def rows(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and "─" not in line]


class TestStatus:
    def test_for_people(self, daemon: list[Any]) -> None:
        result, asked = answered(daemon, StatusReply(report=STATUS), "status", "prices")
        assert asked == [(Path("/run/prices.sock"), GetStatus())]
        assert rows(result.stdout) == [
            "prices serving, up 3 h 12 min (pid 41, arbd 0.1.0)",
            "hub hub:50051 down; 120 tasks taken, 1 result accepted",
            "failed calls: GetTask UNAVAILABLE 3 times",
            "tasks 3 in flight, of which 1 wait for a worker; answered: 118 success, 2 error, 0 limit",
            "outbox 1 result not yet accepted by the hub (no more tasks are taken from 10000 on)",
            "worker pid cpu state tasks busy on cpu waiting memory fds age gen running",
            "0 42 2-3 serving 60 41% 20% 1 51 MiB 12 1 min 40 s 3 total for 0.2 s of 2 s",
            "1 - any starting 0 - - 0 - - 0.0 s 0 -",
        ]
        assert result.exit_code == 0

    def test_another_number_of_workers_than_the_next_start_has_is_told(self, daemon: list[Any]) -> None:
        report = msgspec.structs.replace(STATUS, workers_wanted=8, workers_at_next_start=2)
        result, _ = answered(daemon, StatusReply(report=report), "status")
        assert "workers 8 workers asked for; the next start has 2" in rows(result.stdout)

    def test_for_programs(self, daemon: list[Any]) -> None:
        result, _ = answered(daemon, StatusReply(report=STATUS), "status", "--json")
        document = json.loads(result.stdout)
        assert (document["provider"], document["link"]["state"]) == ("prices", "down")
        assert document["workers"][0]["running"] == {
            "id": "t9", "action": "total", "elapsed_s": 0.25, "timeout_s": 2.0,
        }  # fmt: skip

    def test_trouble_is_told_and_nothing_in_it_reaches_the_terminal(self, daemon: list[Any]) -> None:
        report = msgspec.structs.replace(
            STATUS,
            replacements=[Replacement(1, "interrupted", "struck\x1b]0;x\x07", "slow\x9b", 3.0)],
            out_of_service=[OutOfService(2, "unfit", "no \x1b[31mdatabase\n", 4, 2.0)],
            ending_actions={"bad\r": 8, "worse": 1},
            paused=[PausedAction("held\x1b", 1, 0, 61.0), PausedAction("flood", 256, 9, 2.0)],
        )
        result, _ = answered(daemon, StatusReply(report=report), "status")
        assert all(character.isprintable() or character == "\n" for character in result.stdout)
        lines = rows(result.stdout)
        assert (
            r"worker 2 is out of service (unfit 4 times in a row; tried again in 2.0 s): no \x1b[31mdatabase\n" in lines
        )
        assert r"action bad\r ended 8 workers in a row" in lines
        assert "action worse ended 1 worker" in lines
        assert r"paused held\x1b for 1 min 1 s: 1 task waiting for `arbd resume held\x1b`" in lines
        assert "paused flood for 2.0 s: 256 tasks waiting for `arbd resume flood`; 9 more turned away" in lines
        assert lines[-2:] == [
            "replaced worker reason action detail",
            r"3.0 s ago 1 interrupted slow\x9b struck\x1b]0;x\x07",
        ]

    def test_actions_have_their_counts(self, daemon: list[Any]) -> None:
        actions = [
            ActionReport("total\x1b", 118, 2, 1, 1, 0.0042, 2.0),
            ActionReport("slow"),
            ActionReport("", error=3),
        ]
        result, _ = answered(daemon, StatusReply(report=msgspec.structs.replace(STATUS, actions=actions)), "status")
        assert rows(result.stdout)[-4:] == [
            "action success error limit running run timeout",
            r"total\x1b 118 2 1 1 4.2 ms 2 s",
            "slow 0 0 0 0 - -",
            "(not offered) 0 3 0 0 - -",
        ]

    def test_watching_gives_a_line_of_json_at_every_look_until_it_is_interrupted(self, daemon: list[Any]) -> None:
        daemon[:] = [StatusReply(report=STATUS), StatusReply(report=STATUS), KeyboardInterrupt()]
        result = arbd("status", "--json", "--watch")
        assert result.exit_code == 0
        assert [json.loads(line)["provider"] for line in result.stdout.splitlines()] == ["prices", "prices"]

    def test_watching_ends_when_the_daemon_does(self, daemon: list[Any]) -> None:
        daemon[:] = [StatusReply(report=STATUS), ControlError("its daemon has ended")]
        result = arbd("status", "--watch")
        assert (result.exit_code, result.stderr) == (1, "arbd: its daemon has ended\n")
        assert result.stdout.count("prices  serving") == 1

    def test_without_a_daemon_it_fails_and_says_so(self, daemon: list[Any]) -> None:
        daemon[:] = [ControlError("no daemon is running")]
        result = arbd("status")
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", "arbd: no daemon is running\n")


GOOD = msgspec.structs.replace(STATUS, link=LinkStats("up"), workers_wanted=2)


class TestCheck:
    def test_a_daemon_that_takes_tasks_is_good(self, daemon: list[Any]) -> None:
        result, _ = answered(daemon, StatusReply(report=GOOD), "status", "--check", "prices")
        assert (result.exit_code, result.stdout) == (0, "prices: good: the hub is up, 1 of 2 workers serve\n")

    def test_one_that_does_not_is_not_and_one_line_says_why(self, daemon: list[Any]) -> None:
        bad = msgspec.structs.replace(STATUS, state="draining")
        result, _ = answered(daemon, StatusReply(report=bad), "status", "--check")
        assert (result.exit_code, result.stderr) == (1, "")
        assert result.stdout == "prices: it takes no more tasks: it drains; the hub hub:50051 is not reached\n"

    def test_for_programs(self, daemon: list[Any]) -> None:
        result, _ = answered(daemon, StatusReply(report=STATUS), "status", "--check", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {
            "good": False,
            "problems": ["the hub hub:50051 is not reached"],
            "provider": "prices",
            "state": "serving",
            "hub": "down",
            "serving": 1,
        }

    @pytest.mark.parametrize("asked", ["find", "ask"])
    def test_one_that_is_not_there_is_not_good_and_that_is_a_line_on_standard_output_too(
        self, daemon: list[Any], monkeypatch: pytest.MonkeyPatch, asked: str
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ControlError("no daemon is running")

        monkeypatch.setattr(control, asked, fail)
        result = arbd("status", "--check")
        assert (result.exit_code, result.stdout, result.stderr) == (1, "no daemon is running\n", "")
        result = arbd("status", "--check", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {"good": False, "problems": ["no daemon is running"]}

    def test_a_reason_is_one_line_whatever_it_holds(self, daemon: list[Any]) -> None:
        trouble = OutOfService(0, "unfit", "no\ndatabase\x1b[2J" * 200, 1, 1.0)
        bad = msgspec.structs.replace(GOOD, workers=[], out_of_service=[trouble])
        result, _ = answered(daemon, StatusReply(report=bad), "status", "--check")
        assert result.exit_code == 1
        assert result.stdout.startswith(r"prices: no worker serves: no\ndatabase\x1b[2J")
        assert result.stdout[:-1].isprintable()

    def test_it_looks_once(self, daemon: list[Any]) -> None:
        result = arbd("status", "--check", "--watch")
        assert result.exit_code == 2
        assert "--check looks once" in result.stderr


class TestLimits:
    def test_for_people(self, daemon: list[Any]) -> None:
        result, asked = answered(daemon, LIMITS, "limits")
        assert asked == [(Path("/run/None.sock"), GetLimits())]
        assert rows(result.stdout)[:-2] == [
            "limit of rule per second used at the limit rejected",
            "provider provider 2 calls in any second 2 100% reject 17",
            "cpu total, risk 0.5 s of CPU per second - 25% wait 0",
            "limit worker granted spent held",
            "provider 0 5 4 1",
            "provider 1 2 2 0",
            "last rejected when worker to come back after",
            "provider 0.2 s ago 1 0.4 s",
            "provider 1 min 15 s ago - 0.012 s",
        ]
        assert rows(result.stdout)[-1].startswith("held: granted to a worker")

    def test_a_provider_without_limits_is_shown_how_to_get_one(self, daemon: list[Any]) -> None:
        result, _ = answered(daemon, LimitsReply(provider="prices", limits=[]), "limits")
        assert result.stdout.startswith("prices has no rate limits.")
        assert "rate_limit_monitor=TimeBasedRateLimitMonitor(max_calls_per_second=2)" in result.stdout

    def test_for_programs(self, daemon: list[Any]) -> None:
        result, _ = answered(daemon, LIMITS, "limits", "--json")
        document = json.loads(result.stdout)
        assert [limit["name"] for limit in document["limits"]] == ["provider", "cpu"]
        assert document["limits"][0]["last_rejections"][0] == {"ago_s": 0.25, "wait_time": 0.4, "worker": 1}

    def test_watching_gives_a_line_of_json_at_every_look_until_it_is_interrupted(self, daemon: list[Any]) -> None:
        daemon[:] = [LIMITS, LIMITS, KeyboardInterrupt()]
        result = arbd("limits", "--json", "--watch")
        assert result.exit_code == 0
        assert [json.loads(line)["provider"] for line in result.stdout.splitlines()] == ["prices", "prices"]

    def test_watching_ends_when_the_daemon_does(self, daemon: list[Any]) -> None:
        daemon[:] = [LIMITS, ControlError("its daemon has ended")]
        result = arbd("limits", "--watch")
        assert (result.exit_code, result.stderr) == (1, "arbd: its daemon has ended\n")
        assert result.stdout.count("at the limit") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0000312, "31 µs"), (0.0042, "4.2 ms"), (0.25, "250 ms"), (1.5, "1.5 s"), (0, "0 µs"), (61, "1 min 1 s")],
)
def test_short_lengths_of_time_begin_at_microseconds(seconds: float, text: str) -> None:
    assert _daemon.short_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (61, "1 min 1 s"),
        (3599.9, "59 min 59 s"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_lengths_of_time_have_two_units(seconds: float, text: str) -> None:
    assert _daemon.duration(seconds) == text
