"""The example of an image holds what a daemon needs: PID 1 without root, time to drain, a token that is no variable."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from typing import Any, Final, NamedTuple

import pytest
import yaml
from documents import ROOT

from arbd.settings.table import BY_VARIABLE, resolve
from arbd.supervisor import main as daemon
from arbd.supervisor.lives import STOP_MARGIN_S

#: The instructions of a Dockerfile.
_KNOWN: Final = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "SHELL"),
    *("STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    words: str

    @property
    def listed(self) -> list[str]:
        """Its words in the form that starts no shell."""
        words: list[str] = json.loads(self.words[self.words.index("[") :])
        return words


def instructions() -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def last(name: str) -> Instruction:
    return next(each for each in reversed(instructions()) if each.name == name)


COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())
services = pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])


class TestDockerfile:
    def test_every_line_is_an_instruction(self) -> None:
        assert {each.name for each in instructions()} <= _KNOWN
        assert [each.name for each in instructions()][:2] == ["ARG", "FROM"]

    def test_what_it_copies_is_there_and_sent_to_the_builder(self) -> None:
        sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        copied = [shlex.split(each.words)[:-1] for each in instructions() if each.name == "COPY"]
        sources = [word for words in copied if not words[0].startswith("--from") for word in words]
        assert sorted(sources) == sorted(sent)
        assert [name for name in sources if not (ROOT / name).exists()] == []

    def test_every_stage_that_it_copies_from_is_one(self) -> None:
        stages = {each.words.partition(" AS ")[2] for each in instructions() if each.name == "FROM"} - {""}
        named = {match for each in instructions() for match in re.findall(r"--from=(\S+)", each.words)}
        assert named == stages

    def test_the_python_is_one_that_arbd_runs_on(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert (
            f"Programming Language :: Python :: {instructions()[0].words.partition('=')[2]}" in project["classifiers"]
        )

    def test_it_runs_as_nobody_special_by_number(self) -> None:
        user, group = last("USER").words.split(":")
        assert int(user) >= 1000
        assert int(group) >= 1000
        names = [each.name for each in instructions()]
        assert names[-1 - names[::-1].index("USER") :].count("RUN") == 0

    def test_arbd_is_the_process_that_gets_the_signals(self) -> None:
        assert last("ENTRYPOINT").listed == ["arbd"]
        assert last("CMD").listed[0] == "run"
        assert last("STOPSIGNAL").words == "SIGTERM"

    def test_its_health_is_what_the_daemon_says(self) -> None:
        assert last("HEALTHCHECK").listed == ["arbd", "status", "--check"]
        assert all(option in last("HEALTHCHECK").words for option in ("--interval", "--timeout", "--start-period"))

    def test_nothing_secret_is_in_it(self) -> None:
        assert not re.search(r"token|secret|password", (ROOT / "Dockerfile").read_text(), re.IGNORECASE)


class TestCompose:
    @services
    def test_a_stop_has_time_for_a_drain(self, service: dict[str, Any]) -> None:
        settings = resolve([]).settings
        longest = settings.drain_timeout + settings.worker_stop_timeout + STOP_MARGIN_S + daemon._CLOSE_TIMEOUT_S
        assert float(service["stop_grace_period"].removesuffix("s")) > longest

    @services
    def test_the_token_is_a_secret_of_the_service(self, service: dict[str, Any]) -> None:
        (secret,) = service["secrets"]
        assert secret in COMPOSE["secrets"]
        assert service["environment"]["ARBD_HUB_AUTH_TOKEN_FILE"] == f"/run/secrets/{secret}"
        assert set(service["environment"]) <= set(BY_VARIABLE)

    @services
    def test_it_is_closed(self, service: dict[str, Any]) -> None:
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(volume.endswith(":ro") for volume in service["volumes"])
        assert not service.get("privileged")
        assert "init" not in service, "arbd is PID 1, and reaps"

    @services
    def test_it_does_not_start_again_for_ever(self, service: dict[str, Any]) -> None:
        assert re.fullmatch(r"on-failure:\d+", service["restart"])

    @services
    def test_the_image_has_the_version_of_arbd(self, service: dict[str, Any]) -> None:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        assert service["image"] == f"arbd:{version}"

    def test_no_cpu_is_given_twice(self) -> None:
        given: list[int] = []
        for service in COMPOSE["services"].values():
            first, _, end = service["cpuset"].partition("-")
            given += range(int(first), int(end or first) + 1)
        assert len(given) == len(set(given))
