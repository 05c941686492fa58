"""The stream protocol of protos/arbd_v1.proto as pure state machines: no sockets, no clock, no event loop.

    provider.ProviderSession  <── frames.py: bytes and values ──>  hub.HubSession, desk.Desk (over the TaskBoard)

The shells over grpc.aio are ``arbd.hub.grpc_stream`` and ``arbd.hub.serve_stream``.
"""
