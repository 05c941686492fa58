"""The daemon's links to a hub: they bring tasks, and carry results back. Not the hub itself: that is ``arbd.hub``.

connect.py ── the link that the settings ask for
   ├─ auto.py        asks the hub whether it has the stream ─┐
   ├─ stream/        one bidirectional stream   <────────────┤
   ├─ unary/         many short calls           <────────────┘
   └─ processes/     the unary link, spread over processes

hub ──> link ──> port.take    (supervisor/flow)          base.py    what a link and a daemon are to each other
hub <── link <── port.outbox  (core/outbox)              options.py from settings to what a link is told
                                                         pace.py    how often to ask; alarm.py when
"""

import arbd.wire as _wire  # noqa: F401 # before grpc: it sets the environment that grpc reads at import
