"""arbd, as its user has it: schemas checked on every call, a time limit on every action, metrics on.

python -m arbd run bench/peers/apps/arbd_app.py
"""

from __future__ import annotations

from typing import Any, Final

from arbd import Provider
from bench.peers import actions
from bench.peers.base import LIMIT_S, NO_LIMIT_S

_QUOTE: Final[dict[str, Any]] = {"symbol": str, "quantity": float, "tags": [str]}

provider = Provider(name="peers", execution_timeout=NO_LIMIT_S)
register = provider.actions.register
register(name="quote", payload_schema=_QUOTE)(actions.quote)
register(name="tally", payload_schema=_QUOTE)(actions.tally)
register(name="burn", payload_schema={"rounds": int})(actions.burn)
register(name="meet", payload_schema={"number": int})(actions.meet)
register(name="hang_python", timeout=LIMIT_S)(actions.hang_python)
register(name="hang_c", timeout=LIMIT_S)(actions.hang_c)
