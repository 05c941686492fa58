"""A link process that soon says that its hub is not reached with new credentials: a program, and not a test."""

from __future__ import annotations

import sys

from arbd.links import handover
from arbd.links.processes import process

if __name__ == "__main__":
    handover.LATE_S = 1.0  # type: ignore[misc] # shortened, for a test
    sys.exit(process.main(int(sys.argv[1]), int(sys.argv[2])))
