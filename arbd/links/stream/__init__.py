"""The stream protocol of ``protos/arbd_v1.proto``, the provider's side: one stream, credit, leases, cancels.

    hub <──bytes──> link.py (the stream over grpc.aio) <──values──> session.py (a pure state machine)

The hub's side is ``arbd.hub.stream_session``; the messages are ``arbd.wire.stream_frames``.
"""
