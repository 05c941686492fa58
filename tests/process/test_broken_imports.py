"""An action that breaks an import does not break it for the tasks after it, nor for more than one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from daemon_support import daemon_of, responses

MODULE = """
import os, signal, sys, time
from arbd import Provider

provider = Provider(name="imports")

class Late(Exception):
    pass

def raise_late(*_):
    raise Late

def take_out(how):
    for name in [each for each in sys.modules if each.partition(".")[0] == "numpy"]:
        del sys.modules[name]

@provider.actions.register(name="evil", payload_schema={"how": str})
def evil(how):
    if how == "unloaded":
        import numpy
        take_out(how)
    elif how == "unloaded later":
        take_out(how)
    elif how == "blocked":
        sys.modules["numpy"] = None
    elif how == "torn":
        signal.signal(signal.SIGALRM, raise_late)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            import slow_to_load
        except Late:
            return "torn"

@provider.actions.register(name="use")
def use():
    import numpy
    return [os.getpid(), int(numpy.arange(5).sum())]

@provider.actions.register(name="use_slow")
def use_slow():
    import slow_to_load
    return [os.getpid(), slow_to_load.VALUE]
"""
SLOW = "import os, time\nif os.environ.get('TORN') == str(os.getpid()):\n    raise ImportError('cannot load twice')\n"
SLOW += "os.environ['TORN'] = str(os.getpid())\ntime.sleep(0.05)\nVALUE = 10\ntime.sleep(0)\n"


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
@pytest.mark.parametrize(("how", "most"), [("unloaded", 1), ("unloaded later", 0), ("blocked", 0)])
def test_a_library_in_c_is_had_by_the_tasks_after_it(tmp_path: Path, how: str, most: int) -> None:
    target = tmp_path / "imports.py"
    target.write_text(MODULE)
    with daemon_of(target) as daemon:
        if how == "unloaded later":
            responses(daemon, [daemon.submit("use")])
        answers = responses(daemon, [daemon.submit("evil", {"how": how}), *(daemon.submit("use") for _ in range(6))])
    assert answers[0].status == "success"
    failed = [answer.message for answer in answers[1:] if answer.status != "success"]
    assert len(failed) <= most, failed


def test_a_handler_that_raises_inside_an_import_costs_its_worker_and_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imports.py").write_text(MODULE)
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    with daemon_of(tmp_path / "imports.py") as daemon:
        answers = responses(
            daemon, [daemon.submit("evil", {"how": "torn"}), *(daemon.submit("use_slow") for _ in range(3))]
        )
    assert [answer.status for answer in answers] == ["success"] * 4
    assert answers[0].data == "torn"
