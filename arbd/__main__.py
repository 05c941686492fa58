"""``python -m arbd``: the same as ``arbd``.

First of all a SIGHUP must not end a daemon that is about to start; then comes what takes time to import.
"""

from __future__ import annotations

import sys

from arbd.host import hangup


def main() -> None:
    """The console script."""
    hangup.survive(sys.argv[1:])
    from arbd.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
