"""The tuning campaign's slower copy of this code is one that works, and is slower by what was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.tuning_campaign import slower_copy

_PROBE = """
import time
from arbd.worker import execute as module

module.execute.__closure__  # the wrapped one
begin = time.thread_time()
try:
    module.execute()
except TypeError:
    pass
print(module.__file__, time.thread_time() - begin)
"""


def test_the_copy_is_slower_by_what_was_asked_for(tmp_path: Path) -> None:
    slower_copy(tmp_path, 0.02)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE], env=environment, capture_output=True, text=True, check=True
    )
    place, taken_s = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert 0.02 <= float(taken_s) < 0.2
