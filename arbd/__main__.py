"""``python -m arbd``: the same as ``arbd``.

First of all a SIGHUP must not end a daemon that is about to start; then comes what takes time to import, in which there
is no garbage: to look for it is a tenth of a short command. Those that stay collect it (``arbd.cli``).
"""

from __future__ import annotations

import gc
import sys

from arbd.host import hangup


def main() -> None:
    """The console script."""
    hangup.survive(sys.argv[1:])
    gc.disable()
    from arbd.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
