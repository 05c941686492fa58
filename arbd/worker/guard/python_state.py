"""What Python code changes by a plain assignment, or in a list that it is given: looked at after every task.

No function is called that a wrapper could notice, and to read all of it takes 0.2 µs. That something is not as before
is all that is found out here; what, and how it is put back, the kinds know (``interpreter``).
"""

from __future__ import annotations

import decimal
import sys
import threading
from collections.abc import Callable


def remembered() -> Callable[[], bool]:
    """What says whether that state is still as it is now."""
    path = list(sys.path)
    excepthook, displayhook, unraisablehook = sys.excepthook, sys.displayhook, sys.unraisablehook
    of_threads, decimals = threading.excepthook, decimal.DefaultContext
    precision = decimals.prec

    def is_as_before() -> bool:
        return (
            sys.path == path
            and sys.excepthook is excepthook
            and sys.displayhook is displayhook
            and sys.unraisablehook is unraisablehook
            and threading.excepthook is of_threads
            and decimals.prec == precision
        )

    return is_as_before
