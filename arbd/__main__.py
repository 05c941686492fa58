"""``python -m arbd``: the same as ``arbd``."""

from __future__ import annotations

from arbd.cli import main

main()
