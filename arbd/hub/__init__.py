"""The embedded hub, and a client of it: for development, tests and benchmarks. A link to a hub is ``arbd.links``.

client.py ──> service_client.py ─┐                    ┌─ service_unary.py  <── a provider's unary link
                                 ├──> board.py <──────┤
memory.py (a hub without gRPC) ──┘  queues, leases    └─ service_stream.py <── a provider's stream
                                                          desk.py, stream_session.py: pure, a peer each

server.py  all services on one port, or several       process.py  a hub in a process of its own
state.py   what a hub was doing, kept in a file              presence.py  who is connected
"""

import arbd.wire as _wire  # noqa: F401 # before grpc: it sets the environment that grpc reads at import
