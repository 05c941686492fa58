"""A link process that takes very long to load: the program of a ``LinkGroup``, and not a test."""

from __future__ import annotations

import time

if __name__ == "__main__":
    time.sleep(600)
