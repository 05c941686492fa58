"""How a command line may go on: what each place of it offers, and that nothing is offered that a shell would run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.shell_completion import ShellComplete

from arbd.cli import COMMANDS, _complete, cli
from arbd.cli._complete import answer, is_plain
from arbd.cli._groups import GROUPS, STEERING
from arbd.control import client
from arbd.control.protocol import StatusReply
from arbd.control.reports import PausedAction, RunningTask, StatusReport, WorkerReport
from arbd.errors import ControlError
from arbd.host import runtime_dir
from arbd.model.link_stats import LinkStats


class Way(NamedTuple):
    """One line of the answer."""

    kind: str
    front: str
    value: str
    help: str


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sockets of daemons are; no ``arbd.toml`` but the test's own."""
    monkeypatch.chdir(tmp_path)
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(sockets))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(runtime_dir, "for_command", lambda *_: [sockets])
    return sockets


@pytest.fixture
def daemons(place: Path) -> Iterator[list[str]]:
    """The files of sockets on which somebody listens."""
    names = ["prices.sock", "prices@2.sock", "orders.sock", "a%20b%24%28touch%20x%29.sock"]
    listening = []
    for name in names:
        listener = socket.socket(socket.AF_UNIX)
        directory = os.open(place, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{directory}/{name}")
        os.close(directory)
        listener.listen()
        listening.append(listener)
    yield names
    for listener in listening:
        listener.close()


def ways(capsys: pytest.CaptureFixture[str], *words: str) -> list[Way]:
    """The answer to these words."""
    assert answer(cli, words, is_debugged=True) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return [Way(*line.split("\x1f")) for line in told.out.split("\n")[:-1]]


def values(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    return [way.value for way in ways(capsys, *words)]


class TestCommands:
    def test_all_of_them_in_the_order_of_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = ways(capsys, "")
        assert [way.value for way in found] == list(COMMANDS)
        assert all(way.kind == "plain" and way.front == "" and way.help for way in found)

    def test_those_that_begin_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert values(capsys, "re") == [name for name in COMMANDS if name.startswith("re")]

    def test_also_behind_an_option_and_without_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert values(capsys, "--debug", "ver") == ["version"]
        assert len(ways(capsys)) == len(COMMANDS)

    def test_a_word_that_is_none_offers_nothing_of_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert answer(cli, ["fly", ""]) == 1
        assert capsys.readouterr() == ("", "")


class TestOptions:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_offers_those_of_its_help(self, capsys: pytest.CaptureFixture[str], command: str) -> None:
        assert "--help" in values(capsys, command, "--")

    @pytest.mark.parametrize("command", GROUPS[STEERING])
    def test_those_that_ask_a_daemon(self, capsys: pytest.CaptureFixture[str], command: str) -> None:
        assert {"--json", "--config"} <= set(values(capsys, command, "--"))

    def test_settings(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert {"--workers", "--no-pin", "--log-level"} <= set(values(capsys, "run", "prices.py", "--"))

    def test_hidden_ones_stay_hidden(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert {"--parent", "--script", "--hub-process"}.isdisjoint(values(capsys, "run", "--"))


class TestValues:
    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            (("run", "--log-level", ""), ["debug", "info", "warning", "error", "critical"]),
            (("run", "--log-format", "j"), ["json"]),
            (("run", "--workers", ""), ["auto"]),
            (("log-level", "e"), ["error"]),
            (("bench", "p.py", "a", "--protocol", "s"), ["stream"]),
            (("completion", ""), ["bash", "zsh", "fish"]),
            (("run", "--timeout", ""), []),
        ],
    )
    def test_of_settings(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], offered: list[str]) -> None:
        assert values(capsys, *words) == offered

    def test_behind_an_equals_sign_the_option_stays_in_front(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert ways(capsys, "run", "--log-level=d") == [Way("plain", "--log-level=", "debug", "")]
        assert ways(capsys, "check", "--config=a") == [Way("file", "--config=", "a", ".toml")]

    @pytest.mark.parametrize(
        ("words", "way"),
        [
            (("run", "pri"), Way("file", "", "pri", ".py")),
            (("run", "--config", ""), Way("file", "", "", ".toml")),
            (("run", "--env-file", "x"), Way("file", "", "x", "")),
            (("submit", "echo", "--payload", "@d"), Way("file", "@", "d", "")),
            (("install-units", "--root", "x"), Way("dir", "", "x", "")),
            (("status", "/run/x"), Way("file", "", "/run/x", ".sock")),
        ],
    )
    def test_files(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], way: Way) -> None:
        assert ways(capsys, *words) == [way]

    def test_the_code_of_a_target_is_not_touched(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "p.py").write_text("open('ran', 'w')")
        assert [values(capsys, *words) for words in (("run", "p.py:"), ("schema", "p.py", ""))] == [[], []]
        assert not (tmp_path / "ran").exists()

    def test_json_is_not_completed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert values(capsys, "submit", "echo", "--payload", '\'{"a": ') == []


class TestDaemons:
    @pytest.mark.parametrize("words", [("status", ""), ("pause", "x", "--daemon", ""), ("scale", "3", "")])
    def test_those_that_run_by_the_names_that_tell_them_apart(
        self, capsys: pytest.CaptureFixture[str], daemons: list[str], words: tuple[str, ...]
    ) -> None:
        assert values(capsys, *words) == ["orders", "prices@1", "prices@2"]

    def test_those_that_begin_so(self, capsys: pytest.CaptureFixture[str], daemons: list[str]) -> None:
        assert ways(capsys, "kill", "t", "--daemon=or") == [Way("plain", "--daemon=", "orders", "")]

    def test_one_that_has_ended_is_not_offered(self, capsys: pytest.CaptureFixture[str], place: Path) -> None:
        (place / "dead.sock").write_text("")
        assert values(capsys, "status", "") == []

    def test_wrong_settings_offer_nothing_and_debug_says_why(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("arbd.toml").write_text("workers = [")
        assert answer(cli, ["status", ""]) == 1
        assert capsys.readouterr() == ("", "")
        with pytest.raises(Exception, match=r"arbd\.toml"):
            answer(cli, ["status", ""], is_debugged=True)


class TestOfOneDaemon:
    """Workers, tasks and paused actions of a daemon that answers."""

    @pytest.fixture(autouse=True)
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The time limits with which the daemon was asked."""
        timeouts: list[float] = []
        report = StatusReport(
            *("prices", "1", 1, "serving", 1.0, "hub:1", LinkStats("up")),
            workers=[
                WorkerReport(0, 7, (), "serving", 1.0, 0, 0.0, 0.0, 0, RunningTask("t-1", "order", 0.1, 1.0)),
                WorkerReport(1, 8, (), "serving", 1.0, 0, 0.0, 0.0, 0, RunningTask("t;reboot", "x", 0.1, 1.0)),
                WorkerReport(12, 9, (), "serving", 1.0, 0, 0.0, 0.0, 0, RunningTask("u-1", "x\x1b[2J\x9b", 0.1, 1.0)),
            ],
            in_flight=0,
            backlog=0,
            outbox=0,
            outbox_limit=1,
            verdicts={},
            paused=[PausedAction("order", 1, 0, 1.0), PausedAction("`id`", 1, 0, 1.0)],
        )

        def ask(_path: Path, _request: object, _expected: object, timeout_s: float) -> StatusReply:
            timeouts.append(timeout_s)
            return StatusReply(report=report)

        monkeypatch.setattr(client, "find", lambda *_: Path("/nowhere"))
        monkeypatch.setattr(client, "running", lambda *_: ["prices"])
        monkeypatch.setattr(client, "ask", ask)
        return timeouts

    def test_tasks_that_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert ways(capsys, "kill", "t") == [Way("plain", "", "t-1", "order")]

    def test_what_an_action_is_called_controls_no_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert ways(capsys, "kill", "u") == [Way("plain", "", "u-1", "x\\x1b[2J\\x9b")]

    def test_paused_actions(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert values(capsys, "resume", "") == ["order"]

    def test_numbers_of_workers(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert values(capsys, "stacks", "--worker", "1") == ["1", "12"]
        assert values(capsys, "replace", "") == ["0", "1", "12", "prices"]

    def test_nobody_waits_long_at_a_prompt(self, capsys: pytest.CaptureFixture[str], asked: list[float]) -> None:
        values(capsys, "kill", "")
        assert asked == [0.5]

    def test_a_daemon_that_does_not_answer_offers_nothing(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ask(*_: object) -> StatusReply:
            raise ControlError("it does not answer")

        monkeypatch.setattr(client, "ask", ask)
        assert answer(cli, ["kill", ""]) == 1
        assert capsys.readouterr() == ("", "")


class TestWhatIsOffered:
    @pytest.mark.parametrize("word", ["prices", "prices@2", "a/b", "1.5", "größe", "--log-level", "t-4711", "a~b"])
    def test_a_word_that_means_itself(self, word: str) -> None:
        assert is_plain(word)

    @pytest.mark.parametrize(
        "word", ["", "a b", "$x", "`id`", "a;b", "a&b", "a|b", "a>b", "(a)", "a*", "a?", "[a]", "{a,b}", "!a", "#a"]
    )
    def test_a_word_that_a_shell_would_not_take_as_it_is(self, word: str) -> None:
        assert not is_plain(word)

    @pytest.mark.parametrize(
        "word", ["~root", "=cat", "a\nb", "a\tb", "a\x1fb", "a\x1b[2J", "a'b", 'a"b', "a\\b", "\u202ea"]
    )
    def test_a_word_that_some_shell_or_terminal_would_obey(self, word: str) -> None:
        assert not is_plain(word)


class TestHalfALine:
    """Nothing is run, nothing printed on standard error, whatever has been typed so far."""

    @pytest.mark.parametrize(
        "words",
        [
            ("run", "--nope", ""),
            ("replace", "a", "b", ""),
            ("scale", "many", ""),
            ("hub", "--lease", "soon", ""),
            ("hub", "--parent", "1", "--"),
            ("--version", ""),
            ("run", "--help", ""),
            ("run", "'unfinished", ""),
            ("run", "p.py", "--", "--anything", ""),
            ("stacks", "--worker", "x", ""),
            ("submit", "--payload", "@nowhere", ""),
            ("dev", "--hub", "x:1", ""),
            ("--", ""),
            ("\x00", ""),
            ("log-level", "\udce4", ""),
        ],
    )
    def test_whatever_stands_there(self, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
        assert answer(cli, words) in (0, 1)
        assert capfd.readouterr().err == ""

    def test_an_end_of_the_process_is_none(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(ShellComplete, "get_completions", fail)
        assert answer(cli, ["run", ""]) == 1
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("a", "a"),
        ("'a b'", "a b"),
        ("'a b", "a b"),
        ('"a', "a"),
        (r"a\ b", "a b"),
        ("", ""),
        ("a\\", "a"),
        ("#a", "#a"),
    ],
)
def test_what_is_typed_is_taken_as_the_shell_takes_it(typed: str, word: str) -> None:
    assert _complete._unquoted(typed) == word
