"""No two workers draw the same random numbers: not those of one generation, not their successors, not by exec."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from daemon_support import daemon_of, eventually, responses
from import_support import THREAD, leftovers, written

from arbd.testing import RunningProvider

DRAW = """
import random, time
import numpy as np
random.seed(1)
np.random.seed(1)
rng = np.random.default_rng()
class Model: rng = np.random.Generator(np.random.SFC64())
legacy = [np.random.RandomState()]
@provider.actions.register(name="draw")
def draw():
    time.sleep(0.005)  # so that every worker gets some
    return {
        "pid": os.getpid(),
        "python": random.random(),
        "numpy": np.random.normal(),
        "rng": rng.random(),
        "class": Model.rng.random(),
        "list": legacy[0].random_sample(),
        "spawned": rng.spawn(1)[0].random(),
    }
"""
SOURCES = ("python", "numpy", "rng", "class", "list", "spawned")


def drawn(daemon: RunningProvider, count: int) -> list[dict[str, Any]]:
    return [response.data for response in responses(daemon, [daemon.submit("draw") for _ in range(count)])]


def wait_replaced(daemon: RunningProvider, old: set[int]) -> None:
    eventually(lambda: not old & set(daemon.worker_pids) and all(daemon.worker_pids), 20)


@pytest.mark.parametrize("left", ["", THREAD], ids=["fork", "exec"])
def test_all_workers_and_all_successors_draw_other_numbers(tmp_path: Path, left: str) -> None:
    """1,117 of 4,000 were distinct (numpy#9650), and a replacement began again."""
    with daemon_of(written(tmp_path, DRAW + left), workers=4) as daemon:
        found = drawn(daemon, 200)
        for _ in range(2):
            killed = set(daemon.worker_pids)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            wait_replaced(daemon, killed)
            found += drawn(daemon, 200)
        seen = len(found)
        killed = set(daemon.worker_pids)
        daemon.reload()
        wait_replaced(daemon, killed)
        found += drawn(daemon, 200)
    assert len({each["pid"] for each in found}) >= 8
    assert len({each["pid"] for each in found[seen:]}) >= 2
    for source in SOURCES:
        assert len({each[source] for each in found}) == len(found), source


def test_an_author_who_seeds_on_purpose_keeps_the_seed(tmp_path: Path) -> None:
    """Also that of Python's own ``random``, which Python itself seeds anew after a fork."""
    with daemon_of(written(tmp_path, DRAW), workers=2, worker_reseed=False) as daemon:
        found = drawn(daemon, 60)
    firsts = {each["pid"]: each for each in reversed(found)}
    assert len(firsts) == 2
    for source in SOURCES:
        assert len({each[source] for each in firsts.values()}) == 1, source


def test_a_bit_generator_of_the_author_s_choice_is_seeded_too(tmp_path: Path) -> None:
    text = """
import numpy as np
np.random.set_bit_generator(np.random.PCG64(7))
@provider.actions.register(name="draw")
def draw(): return {"pid": os.getpid(), "numpy": np.random.random()}
"""
    with daemon_of(written(tmp_path, text), workers=3) as daemon:
        found = drawn(daemon, 90)
    assert len({each["numpy"] for each in found}) == 90


def test_torch_is_seeded_if_it_is_loaded(tmp_path: Path) -> None:
    """A stand-in with the one function that is called."""
    text = """
import sys, types
torch = types.ModuleType("torch")
torch.seeds = []
torch.manual_seed = torch.seeds.append
sys.modules["torch"] = torch
@provider.actions.register(name="draw")
def draw(): return {"pid": os.getpid(), "seeds": torch.seeds}
"""
    with daemon_of(written(tmp_path, text), workers=2) as daemon:
        found = drawn(daemon, 40)
    seeds = {each["pid"]: each["seeds"] for each in found}
    assert [len(each) for each in seeds.values()] == [1, 1]
    assert len({each[0] for each in seeds.values()}) == 2


def test_a_library_that_cannot_be_seeded_keeps_no_worker_from_its_tasks(tmp_path: Path) -> None:
    text = """
import sys, types
torch = types.ModuleType("torch")
def manual_seed(seed): raise RuntimeError("another release")
torch.manual_seed = manual_seed
sys.modules["torch"] = torch
@provider.actions.register(name="draw")
def draw(): return {}
"""
    with daemon_of(written(tmp_path, text), workers=1) as daemon:
        assert drawn(daemon, 1) == [{}]


def test_generators_that_the_author_has_made_are_told_by_name(tmp_path: Path) -> None:
    text = """
import random
import numpy as np
rng = np.random.default_rng(42)
unseeded = np.random.default_rng()
dice = random.Random(3)
system = random.SystemRandom()
class Model: state = np.random.RandomState(5)
by_name = {"a": [np.random.PCG64(9)]}
class Holder:
    def __init__(self): self.inner = random.Random()
holder = Holder()
"""
    found = leftovers(tmp_path, text)
    assert (list(found), found["generators"].by_exec) == (["generators"], False)
    told = " ".join(found["generators"].found)
    for name in ("left.rng", "left.unseeded", "left.dice", "left.Model.state", "left.by_name", "left.holder.inner"):
        assert f"{name} (" in told
    assert "left.system" not in told
    assert "on_worker_start" in found["generators"].hint
