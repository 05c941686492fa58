"""Hub links, and the embedded hub. Only the supervisor side and the command line import this package."""

import os

# Both are read by grpc when it is imported, so they stand before every import of grpc in this package.
# gRPC's fork handlers stall a fork for up to half a second, and arbd forks only processes that never import grpc.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Below that level gRPC writes to stderr what the link logs by itself, and not in the format the operator chose.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
