"""The command line: each command says what it should, wrong settings end with 78, and heavy packages stay unloaded."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_support import invoke
from click.testing import Result

from arbd import __version__ as arbd_version
from arbd.cli import COMMANDS
from arbd.cli.bench import EXIT_SLOWER
from arbd.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNEXPECTED,
    EXIT_USAGE,
    EXIT_ZYGOTE,
    HubError,
    TargetError,
    ZygoteError,
)
from arbd.model.description import ActionInfo, Description, HookInfo, Leftover, ResourceInfo
from arbd.settings.secrets import placeholder
from arbd.supervisor import describe as describing
from arbd.supervisor import trial
from arbd.supervisor.request import RunRequest

ADD = ActionInfo(
    name="add",
    description="Add two numbers",
    timeout=0.5,
    payload_schema={
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "unit": {"enum": ["m", "s"]},
            "path": {"$ref": "#/$defs/Path"},
        },
        "required": ["a"],
        "$defs": {"Path": {"type": "array", "items": {"type": "string"}}},
    },
    account_schema={"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
    signature="add(a, b)",
    is_async=True,
    notes=["b is easily overlooked"],
)
ECHO = ActionInfo("echo", "", None, {}, None, "echo(payload)", False)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no arbd.toml but the test's own


@pytest.fixture
def failures() -> list[str]:
    """Why a worker does not start when ``check`` tries one."""
    return []


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch, failures: list[str]) -> list[Any]:
    """What ``describe`` is to give or raise; and afterwards, the arguments it was called with."""
    script: list[Any] = [Description(given={"name": "calc", "execution_timeout": 2}, actions=[ADD, ECHO])]
    calls: list[Any] = []

    def describe(target: str, argv: list[str], environ: dict[str, str]) -> Description:
        calls.append(target)
        if isinstance(script[0], Exception):
            raise script[0]
        description: Description = script[0]
        return description

    def try_out(
        target: str, argv: list[str], environ: dict[str, str], settings_of: Any, worker_cpus: int = 1
    ) -> trial.Tried:
        description = describe(target, argv, environ)
        settings_of(description)
        assert worker_cpus == 1
        return trial.Tried(description, failures)

    monkeypatch.setattr(trial, "try_out", try_out)
    monkeypatch.setattr(describing, "describe", describe)
    return script


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """What the supervisor was asked to run; it answers with exit code 3."""
    seen: list[RunRequest] = []

    def run(request: RunRequest) -> int:
        seen.append(request)
        return 3

    module = ModuleType("arbd.supervisor.main")
    module.run = run  # type: ignore[attr-defined] # a stand-in for the whole module
    monkeypatch.setitem(sys.modules, "arbd.supervisor.main", module)
    return seen


def arbd(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
    return invoke(*arguments, env=env, stdin=stdin)


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
    def test_every_command_explains_itself(self, arguments: list[str]) -> None:
        result = arbd(*arguments, "--help")
        assert (result.exit_code, result.stderr) == (0, "")
        assert all(word in result.stdout.splitlines()[0] for word in arguments)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_has_examples(self, command: str) -> None:
        assert f"Examples:\n    arbd {command}" in arbd(command, "--help").stdout

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_says_what_the_exit_codes_mean(self, command: str) -> None:
        assert re.search(r"[Ee]xit codes?( is|:) 0", " ".join(arbd(command, "--help").stdout.split()))

    @pytest.mark.parametrize("command", COMMANDS)
    def test_what_an_option_with_a_value_takes_is_said(self, command: str) -> None:
        """A length of time by its unit; nothing is just TEXT but what is text."""
        for line in re.sub(r"\n {6,}", " ", arbd(command, "--help").stdout).splitlines():
            assert "SECONDS" not in line or "In seconds, or with a unit: 250ms" in line
            assert " TEXT " not in line or re.search("--(name|token|payload|account|provider) ", line), line

    def test_the_list_of_commands_cuts_no_sentence(self) -> None:
        lines = [line.split() for line in arbd("--help").stdout.splitlines()]
        told = {words[0]: words[-1] for words in lines if words and words[0] in COMMANDS}
        assert told.keys() == set(COMMANDS)
        assert not any(last.endswith("...") for last in told.values())

    def test_the_exit_codes_of_all_commands_are_told(self) -> None:
        told = arbd("--help").stdout.partition("Exit codes: ")[2]
        codes = {EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_SLOWER, EXIT_ZYGOTE, EXIT_UNEXPECTED, EXIT_CONFIG}
        assert {int(number) for number in re.findall(r"\d+", told)} == {*codes, EXIT_INTERRUPTED}


class TestWrongWords:
    """What a command line is told that names what there is not: exit code 2, and what may have been meant."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["stauts"], "There is no command 'stauts'; did you mean status?"),
            (["prices.py"], "There is no command 'prices.py', but a TARGET comes behind one: arbd dev prices.py"),
            (["--hepl"], "There is no option --hepl before a command; did you mean --help?"),
            (["run", "--worker", "3"], "There is no option --worker; did you mean --workers?"),
            (["status", "--debug"], "There is no option --debug behind status: it stands before the command"),
            (
                ["limits", "--daemon", "x"],
                "There is no option --daemon: it is an argument, as in arbd limits [DAEMON].",
            ),
            (
                ["check", "--kill-grace", "1"],
                "kill_grace is a setting without one; set it in arbd.toml, or by ARBD_KILL_",
            ),
        ],
    )
    def test_are_told(self, arguments: list[str], message: str) -> None:
        result = arbd(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr

    def test_a_token_on_the_command_line_is_not_repeated(self) -> None:
        result = arbd("run", "p.py", "--token", "s3cret")
        assert result.exit_code == 2
        assert "PROVIDER_AUTH_TOKEN" in result.stderr
        assert "s3cret" not in result.output


class TestVersionOption:
    @pytest.mark.parametrize("option", ["--version", "-V"])
    def test_it_is_one_line(self, option: str) -> None:
        result = arbd(option)
        assert (result.exit_code, result.stdout) == (0, f"arbd {arbd_version}\n")


class TestRun:
    def test_target_arguments_and_flags_reach_the_supervisor_as_they_were_written(
        self, requests: list[RunRequest]
    ) -> None:
        options = ["--workers", "2", "--no-pin", "--timeout", "250ms", "--config", "x.toml"]
        result = arbd("run", "my.module:build", *options, "--", "--region", "eu")
        flags = {"workers": "2", "pin": False, "execution_timeout": "250ms"}
        request = RunRequest(target="my.module:build", argv=["--region", "eu"], flags=flags, config_file="x.toml")
        assert (requests, result.exit_code) == ([request], 3)

    def test_without_a_target_that_of_the_settings_is_run(self, requests: list[RunRequest]) -> None:
        Path("arbd.toml").write_text('target = "from_toml"\n')
        arbd("run")
        arbd("run", env={"ARBD_TARGET": "from_environment"})
        assert [request.target for request in requests] == ["from_toml", "from_environment"]

    def test_without_any_target_it_is_a_usage_error(self, requests: list[RunRequest]) -> None:
        result = arbd("run")
        assert (result.exit_code, requests) == (2, [])
        assert "TARGET" in result.stderr

    def test_a_script_is_run_as_one(self, requests: list[RunRequest]) -> None:
        arbd("run", "--script", "p.py")
        assert requests == [RunRequest(target="p.py", script=True)]


class TestConfig:
    def test_each_setting_is_shown_with_its_origin_and_secrets_are_not(self) -> None:
        Path("arbd.toml").write_text('max_payload = "1MiB"\n')
        result = arbd("config", "--name", "x", env={"PROVIDER_AUTH_TOKEN": "s3cret"})
        lines = {tuple(line.split("  ")[0].split()): line.split()[1:] for line in result.stdout.splitlines()}
        assert lines["name",] == ["x", "--name"]
        assert lines["max_payload",] == ["1", "MiB", "arbd.toml"]
        assert lines["hub.auth_token",] == ["[redacted]", "environment", "PROVIDER_AUTH_TOKEN"]
        assert lines["pin",] == ["true", "default"]
        assert "s3cret" not in result.output

    def test_what_libraries_are_told_of_threads(self) -> None:
        environ = {"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "", "POLARS_MAX_THREADS": ""}
        lines = [line.split() for line in arbd("config", env=environ).stdout.splitlines()]
        assert ["OMP_NUM_THREADS", "3", "environment"] in lines
        assert ["MKL_NUM_THREADS", "-", "environment", "OMP_NUM_THREADS,", "which", "its", "library"] in [
            line[:7] for line in lines
        ]
        assert ["POLARS_MAX_THREADS", "1", "worker.cpus"] in lines

    def test_json(self) -> None:
        shown = json.loads(arbd("config", "--json").stdout)
        assert shown["execution_timeout"] == {"value": 1.0, "unit": "s", "from": "default"}

    def test_with_a_target_the_constructor_counts(self, described: list[Any]) -> None:
        shown = json.loads(arbd("config", "calc.py", "--json").stdout)
        assert shown["name"] == {"value": "calc", "unit": "", "from": "constructor"}

    def test_a_token_that_stands_in_for_the_environments_is_not_the_constructors(self, described: list[Any]) -> None:
        described[0] = Description(given={"name": "c", "hub.auth_token": placeholder("s3cret-token")}, actions=[])
        shown = json.loads(arbd("config", "c.py", "--json", env={"PROVIDER_AUTH_TOKEN": "s3cret-token"}).stdout)
        assert shown["hub.auth_token"]["from"] == "environment PROVIDER_AUTH_TOKEN"

    def test_all_problems_are_listed_and_the_code_is_78(self) -> None:
        result = arbd("config", "--workers", "0", env={"ARBD_PREFETCH": "x", "ARBD_WORKER": "1"})
        assert result.exit_code == 78
        assert result.stderr == (
            "arbd: 3 problems\n"
            "  - environment ARBD_WORKER: no such setting; did you mean ARBD_WORKERS?\n"
            "  - --workers: workers is '0'; allowed: auto, or a whole number from 1 to 1024\n"
            "  - environment ARBD_PREFETCH: prefetch is 'x'; allowed: a whole number from 0 to 4096\n"
        )

    def test_what_is_retired_is_a_warning(self) -> None:
        result = arbd("config", "--json", env={"ARBD_HUB_LINKS": "auto"})
        assert result.exit_code == 0
        assert json.loads(result.stdout)["hub.links"] == {"value": 0, "unit": "processes", "from": "default"}
        assert result.stderr == (
            "arbd: warning: environment ARBD_HUB_LINKS: hub.links is 'auto', which is retired; "
            "remove it, or set a number of processes; it counts as 0\n"
        )


class TestCheck:
    def test_hooks_and_resources_are_listed_with_who_uses_them(self, described: list[Any]) -> None:
        action = ActionInfo("ask", "", None, {"type": "object"}, None, "ask(db)", False, resources=["db", "model"])
        db = ResourceInfo("db", "db(logger)", lazy=False, is_async=True, used_by=["ask", "resource model"])
        model = ResourceInfo("model", "model(db)", lazy=True, is_async=False, used_by=["ask"])
        spare = ResourceInfo("spare", "spare()", lazy=True, is_async=False, used_by=[])
        hooks = [HookInfo("start", "warm(db)", False), HookInfo("stop", "cool()", True)]
        described[0] = Description({"name": "calc"}, [action], hooks=hooks, resources=[db, model, spare])
        lines = arbd("check", "calc.py").stdout.splitlines()
        assert "  given    db, model" in lines
        at = lines.index("resources")
        assert lines[at : at + 8] == [
            "resources",
            "  async db(logger)  at the start; used by ask, resource model",
            "  model(db)  lazy; used by ask",
            "  spare()  lazy; used by nothing",
            "",
            "hooks",
            "  on_worker_start  warm(db)",
            "  on_worker_stop  async cool()",
        ]

    def test_a_good_provider(self, described: list[Any]) -> None:
        result = arbd("check", "calc.py", "--workers", "2")
        assert result.exit_code == 0
        assert result.stdout == (
            "calc (calc.py), hub hub-grpc:50051, workers 2\n"
            "\n"
            "add: Add two numbers\n"
            "  handler  async add(a, b)\n"
            '  payload  a: integer, b?: number | null, unit?: "m" | "s", path?: [string]\n'
            "  account  key: string\n"
            "  timeout  0.5 s\n"
            "  note     b is easily overlooked\n"
            "\n"
            "echo\n"
            "  handler  echo(payload)\n"
            "  payload  anything\n"
            "  timeout  2 s (execution_timeout)\n"
            "\n"
            "No problems.\n"
        )

    def test_problems_and_leftovers_are_told_and_the_code_is_78(self, described: list[Any]) -> None:
        left = [Leftover("threads", ["pool-1", "pool-2"], "start them later", True), Leftover("locks", ["/x"], "hm")]
        described[0] = Description(
            given={"name": "x"},
            actions=[],
            problems=["it is broken"],
            leftovers=left,
            load_s=1.24,
            load_bytes=2_400_000,
        )
        result = arbd("check", "x.py")
        assert result.exit_code == 78
        assert "problem: it is broken\nproblem: the provider has no actions" in result.stdout
        assert "note: module_starts_threads: pool-1; pool-2: start them later\n" in result.stdout
        assert "note: module_leaves_locks: /x: hm\n" in result.stdout
        assert (
            "note: workers start by exec, not by fork: each worker imports the module again: 1.2 s and up to 2 MB"
            in (result.stdout)
        )

    def test_a_worker_that_does_not_start_is_a_problem(self, described: list[Any], failures: list[str]) -> None:
        failures.append("a worker, started by exec, does not start: it was killed by SIGSEGV")
        result = arbd("check", "calc.py")
        assert result.exit_code == 78
        assert result.stdout.endswith(f"problem: {failures[0]}\n1 problem.\n")
        shown = json.loads(arbd("check", "calc.py", "--json").stdout)
        assert (shown["good"], shown["problems"]) == (False, failures)

    def test_json(self, described: list[Any]) -> None:
        shown = json.loads(arbd("check", "calc.py", "--json").stdout)
        assert (shown["good"], shown["name"]) == (True, "calc")
        assert [action["name"] for action in shown["provider"]["actions"]] == ["add", "echo"]

    def test_what_is_retired_is_a_warning(self, described: list[Any]) -> None:
        Path("arbd.toml").write_text("hub.piggyback = true\n")
        warning = "arbd.toml: hub.piggyback is retired, and ignored; remove it: tasks come by polls alone"
        result = arbd("check", "calc.py")
        assert (result.exit_code, result.stdout.splitlines()[-2:]) == (0, [f"warning: {warning}", "No problems."])
        shown = json.loads(arbd("check", "calc.py", "--json").stdout)
        assert (shown["good"], shown["warnings"]) == (True, [warning])

    def test_wrong_settings_fail_the_check(self, described: list[Any]) -> None:
        assert arbd("check", "calc.py", "--workers", "0").exit_code == 78

    @pytest.mark.parametrize(("error", "code"), [(TargetError(["no such file"]), 78), (ZygoteError("it broke"), 70)])
    def test_a_target_that_cannot_be_loaded(self, described: list[Any], error: Exception, code: int) -> None:
        described[0] = error
        result = arbd("check", "calc.py")
        assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"arbd: {error}\n")

    def test_debug_adds_the_traceback_and_keeps_the_code(self, described: list[Any]) -> None:
        described[0] = ZygoteError("it broke")
        result = arbd("--debug", "check", "calc.py")
        assert (result.exit_code, "Traceback" in result.stderr) == (70, True)


class TestSchema:
    def test_every_action(self, described: list[Any]) -> None:
        assert json.loads(arbd("schema", "calc.py").stdout) == {
            "add": {"description": "Add two numbers", "payload": ADD.payload_schema, "account": ADD.account_schema},
            "echo": {"description": "", "payload": {}},
        }

    def test_one_action(self, described: list[Any]) -> None:
        assert json.loads(arbd("schema", "calc.py", "add").stdout) == ADD.payload_schema
        assert json.loads(arbd("schema", "calc.py", "add", "--account").stdout) == ADD.account_schema

    @pytest.mark.parametrize("arguments", [["sub"], ["--account"]])
    def test_an_action_that_is_not_there(self, described: list[Any], arguments: list[str]) -> None:
        assert arbd("schema", "calc.py", *arguments).exit_code == 2


class TestSubmit:
    """Only what is refused before anything is sent; the rest needs a hub: tests/process/test_cli_submit.py."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--payload", "{bad"], "--payload: not JSON"),
            (["--payload", "@nowhere.json"], f"--payload: nowhere.json: {os.strerror(errno.ENOENT)}"),
            (["--account", "x"], "--account: not JSON"),
            (["--count", "0"], "--count"),
            (["--timeout", "soon"], "'--timeout': 'soon'; allowed: seconds from 0 to 86400"),
        ],
    )
    def test_wrong_options(self, arguments: list[str], message: str) -> None:
        result = arbd("submit", "echo", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr

    def test_the_line_of_a_bad_payload_is_named(self) -> None:
        result = arbd("submit", "echo", "--payload", "-", stdin='{"a": 1}\n\nnope\n')
        assert result.exit_code == 2
        assert "line 3 is not JSON" in result.stderr

    def test_a_file_without_the_sign_for_files_is_seen(self, tmp_path: Path) -> None:
        (tmp_path / "order.json").write_text("{}", encoding="utf-8")
        told = arbd("submit", "echo", "--payload", str(tmp_path / "order.json"))
        assert (told.exit_code, "write @ before it" in told.stderr) == (2, True)
        assert "@ stands right before" in arbd("submit", "echo", "--payload", "@").stderr
        assert "write @" not in arbd("submit", "echo", "--payload", "x" * 300).stderr
        assert "no path" in arbd("submit", "echo", "--payload", "@\0").stderr

    def test_an_address_that_is_none(self) -> None:
        assert arbd("submit", "echo", "--hub", "nowhere").exit_code == 78


class TestDemo:
    def test_its_options_and_exit_code_are_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from arbd.examples import demo

        seen: list[dict[str, Any]] = []

        def main(**options: Any) -> int:
            seen.append(options)
            return 1

        monkeypatch.setattr(demo, "main", main)
        result = arbd("demo", "--tasks", "10", "--workers", "2", "--json")
        assert (seen, result.exit_code) == ([{"tasks": 10, "workers": "2", "json": True}], 1)


class TestErrors:
    def test_a_failure_while_running_is_1(self, requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        def run(_: RunRequest) -> int:
            raise HubError("INTERNAL", "no")

        monkeypatch.setattr(sys.modules["arbd.supervisor.main"], "run", run)
        result = arbd("run", "x")
        assert (result.exit_code, result.stderr) == (1, "arbd: INTERNAL: no\n")

    def test_an_interrupt_is_130(self, requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        def run(_: RunRequest) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(sys.modules["arbd.supervisor.main"], "run", run)
        result = arbd("run", "x")
        assert (result.exit_code, result.stdout, result.stderr) == (130, "", "\n")


def test_version_tells_what_a_bug_report_needs() -> None:
    versions = json.loads(arbd("version", "--json").stdout)
    assert {"arbd", "python", "platform", "grpcio", "msgspec"} <= set(versions)
    assert arbd("version").stdout.split()[0] == "arbd"


def test_the_failure_goes_to_the_file_it_is_given() -> None:
    from arbd.cli import _Failure

    file = io.StringIO()
    _Failure(ZygoteError("it broke"), debug=True).show(file)
    assert file.getvalue().splitlines()[-1] == "arbd: it broke"
