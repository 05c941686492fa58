"""``python -m arbd``: the same as ``arbd``.

First of all the state of the process, before anything that takes time to import: a SIGHUP that comes meanwhile must not
end a daemon that is about to start.
"""

from __future__ import annotations

import sys

from arbd.host import process_state


def main() -> None:
    """The console script."""
    process_state.survive_hangup(sys.argv[1:])
    from arbd.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
