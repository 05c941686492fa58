"""What Python code changes by a plain assignment, or in a list that it is given: looked at after every task.

No function is called that a wrapper could notice, and to read all of it takes 0.15 µs. That something is not as before
is all that is found out here; what, and how it is put back, the kinds know (``interpreter``). What a task could not
feel, such as the display hook, or costs as much as all of this, such as the decimals' precision, waits for a full look.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


def remembered() -> Callable[[], bool]:
    """What says whether that state is still as it is now."""
    path = list(sys.path)
    excepthook, unraisablehook, of_threads = sys.excepthook, sys.unraisablehook, threading.excepthook

    def is_as_before() -> bool:
        return (
            sys.path == path
            and sys.excepthook is excepthook
            and sys.unraisablehook is unraisablehook
            and threading.excepthook is of_threads
        )

    return is_as_before
