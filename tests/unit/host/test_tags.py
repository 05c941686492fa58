"""A tag survives the way through a resource limit, and nothing that is no tag is taken for one."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host import tags
from arbd.host.tags import Tag

GENERATIONS = st.integers(0, 2**32 - 1)
WORKERS = st.integers(0, tags.LIMITS)


@given(GENERATIONS, WORKERS)
def test_a_tag_comes_back_from_its_limit(generation: int, worker: int) -> None:
    soft = tags.encode(Tag(generation, worker))
    assert tags.decode(soft) == Tag(generation, worker)
    assert 0 < soft < 2**63, "what Python can pass, and below RLIM_INFINITY"


@pytest.mark.parametrize("soft", [-1, 0, 1, 1024, 2**31, 2**52, 2**62, 2**63 - 1])
def test_what_an_operator_may_have_set_is_no_tag(soft: int) -> None:
    assert tags.decode(soft) is None


@given(st.integers(1, 10**9))
def test_a_worker_s_number_is_nobody_else_s(worker_id: int) -> None:
    number = tags.of_worker(7, worker_id).worker
    assert tags.MODULE < number < tags.WATCH < tags.LIMITS


def test_workers_that_live_at_one_time_have_different_numbers() -> None:
    numbers = {tags.of_worker(7, worker_id).worker for worker_id in range(1_048_000, 1_050_000)}
    assert len(numbers) == 2_000


def test_generations_of_one_daemon_differ_and_are_known_as_its_own() -> None:
    found = [tags.new_generation() for _ in range(100)]
    assert len(set(found)) == 100
    assert all(tags.is_of_this_daemon(Tag(each, 3)) for each in found)
    assert not tags.is_of_this_daemon(Tag(found[0] ^ 1 << 31, 3))
    assert not tags.is_of_this_daemon(None)


LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max realtime priority     0                    0
Max file locks            {soft} unlimited            locks
"""


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (LIMITS.format(soft=tags.encode(Tag(5, 6))), Tag(5, 6)),
        (LIMITS.format(soft="unlimited           "), None),
        (LIMITS.format(soft="1024                "), None),
        ("Max file locks", None),
        ("", None),
    ],
)
def test_the_text_of_the_kernel(text: str, tag: Tag | None) -> None:
    assert tags.parse(text) == tag


RUN = "import os, subprocess, sys\nfrom arbd.host import tags\nfrom arbd.host.tags import Tag\n"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", RUN + code], capture_output=True, text=True, timeout=60).stdout.strip()


def test_what_is_started_has_it_however_it_is_started() -> None:
    code = """
tags.put_on(Tag(5, 6))
tags.become_worker(9)
look = "from arbd.host import tags; print(tuple(tags.of(0)))"
path = {"PYTHONPATH": os.pathsep.join(sys.path)}
subprocess.run([sys.executable, "-c", look], env=path, start_new_session=True)
"""
    assert run(code) == "(5, 9)"


def test_one_that_has_ended_and_is_not_reaped_has_it_still() -> None:
    code = """
tags.put_on(Tag(5, 6))
child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print(tags.of(child) == Tag(5, 6))
os.waitpid(child, 0)
print(tags.of(child))
"""
    assert run(code).split() == ["True", "None"]


def test_a_process_without_a_generation_gets_no_tag() -> None:
    assert tags.of(0) is None
    tags.become_worker(5)
    assert tags.of(0) is None


def test_a_hard_limit_below_it_is_an_oserror() -> None:
    code = """
import resource
resource.setrlimit(tags.LIMIT, (1000, 1000))
try:
    tags.put_on(Tag(5, 6))
except OSError as error:
    print("OSError")
"""
    assert run(code) == "OSError"


def test_a_process_of_another_user_is_asked_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> tuple[int, int]:
        raise PermissionError

    monkeypatch.setattr(resource, "prlimit", forbidden)
    assert tags.of(os.getpid()) is None  # it has none; and the file could be read
    assert tags.of(2**22 + 1) is None
