"""The Python stacks of all threads of this process, as text.

From any thread, also while another one never returns to Python's loop, as long as it lets others run. Names of files
and functions, no values.
"""

from __future__ import annotations

import faulthandler
import os
from typing import Final

_MOST: Final = 64 * 1024  # bytes


def read() -> str:
    """They, as far as there is room; why there are none, where no descriptor is left."""
    try:
        fd = os.memfd_create("arbd-stacks", os.MFD_CLOEXEC)
    except OSError as error:
        return f"no stacks: {error.strerror}"
    try:
        faulthandler.dump_traceback(fd, all_threads=True)
        return os.pread(fd, _MOST, 0).decode(errors="replace").rstrip()
    finally:
        os.close(fd)
