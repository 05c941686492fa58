"""Bytes that a hub and the daemon agree on, for both of them. Not what they do with them: ``arbd.links``, ``arbd.hub``.

    pb/                protos/*.proto, generated           hub.proto, arbd_client.proto, arbd_v1.proto
    stream_frames.py   the messages of the stream as values, to bytes and back
    call_metadata.py   what the unary calls say beside their messages
    grpc_channel.py    channel options and TLS, which both protocols share

Every import of grpc in arbd comes after this one, because grpc reads its ``GRPC_*`` environment when it is imported.
"""

import os
from importlib.metadata import version

# gRPC's fork handlers stall a fork for up to half a second, and arbd forks only processes that never import grpc.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Below that level gRPC writes to stderr what the link logs by itself, and not in the format the operator chose.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# Newer gRPC moves bytes on threads of its own; the older way, still built in, moves them on the one thread that waits
# for completions. A message and its answer over one stream: 76 µs instead of 118, and 44 µs of CPU instead of 67; a
# unary task costs a tenth less. A release that no longer knows these names would complain on stderr, so they are
# given only to those that are known to have them.
if (1, 66) <= tuple(map(int, version("grpcio").split(".")[:2])) <= (1, 85):
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
