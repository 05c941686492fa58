"""The score of this process for the kernel's out-of-memory killer (``oom_score_adj`` in ``proc(5)``): how readily it is
chosen when memory runs out, from -1000 (never) to 1000 (first). Processes that it starts inherit it.

Anybody may raise the own score; to lower it again takes a privilege, so nothing here does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: How much more readily than the rest of its daemon a worker is killed: as if it held 30 % of all memory besides. It
#: costs one task and milliseconds; the supervisor's end costs the daemon. Relative, so that what an operator or a
#: container manager has said of the whole daemon beside others still counts.
WORKER_STEP: Final = 300
_MOST: Final = 1000
_FILE: Final = "/proc/self/oom_score_adj"


def raise_score(by: int, file: str = _FILE) -> int:
    """Raise the score of this process; the new one. Raises ``OSError`` where that is forbidden."""
    score = min(int(Path(file).read_text(encoding="ascii")) + by, _MOST)
    Path(file).write_text(str(score), encoding="ascii")
    return score
