"""All peers, by the names that ``--only`` takes; a file is imported for its own turn only: packages may lack."""

from __future__ import annotations

import importlib
from typing import Final

from bench.peers.base import Peer

_CLASSES: Final = {
    "arbd": "arbd_peer:ArbdStream",
    "arbd-unary": "arbd_peer:ArbdUnary",
    "huey": "huey_peer:HueyPeer",
    "dramatiq": "dramatiq_peer:DramatiqPeer",
    "taskiq": "taskiq_peer:TaskiqPeer",
    "celery": "celery_peer:CeleryPeer",
    "rq": "rq_peer:RqPeer",
    "ray": "ray_peer:RayPeer",
    "pool": "pool_peer:PoolPeer",
    "pebble": "pebble_peer:PebblePeer",
    "executor": "executor_peer:ExecutorPeer",
}
NAMES: Final = tuple(_CLASSES)


def find(name: str) -> type[Peer]:
    """The class of a peer. Raises ``ImportError`` if its packages are not installed."""
    module, _, attribute = _CLASSES[name].partition(":")
    found: type[Peer] = getattr(importlib.import_module(f"bench.peers.clients.{module}"), attribute)
    return found
