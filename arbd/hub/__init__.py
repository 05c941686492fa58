"""Hub links, and the embedded hub. Only the supervisor side and the command line import this package."""

import os
from importlib.metadata import version

# All of this is read by grpc when it is imported, so it stands before every import of grpc in this package.
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
