"""Hub links, and the embedded hub. Only the supervisor side and the command line import this package."""

import os

# Read by grpc when it is imported, so it stands before every import of grpc in this package. gRPC's fork handlers
# stall a fork for up to half a second, and arbd forks only processes that never import grpc.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
