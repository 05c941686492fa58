"""A provider that imports a library at module top: ``arbd run bench/libraries_provider.py -- LIBRARY``.

Its workers are started by exec, whatever the library does when it is imported: what is measured is that way.
"""

from __future__ import annotations

import sys
import threading

from arbd import Provider
from bench.libraries import WORK

provider = Provider(name="libraries", execution_timeout=60)
work = WORK[sys.argv[1]]()
threading.Thread(target=threading.Event().wait, name="at-import", daemon=True).start()


@provider.actions.register(name="work")
def run() -> object:
    """One call."""
    return work()


@provider.actions.register(name="threads")
def threads() -> int:
    """How many the process has by now."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))
