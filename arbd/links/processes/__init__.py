"""The unary link spread over processes: ``hub.links``. A map of the package; nothing is imported here.

 |-------------- link process --------------|------ shared memory ------|------------ supervisor ------------|
  GetTask -> GrpcUnaryLink -> port.take ──────> ring up   ─> doorbell ──> group ─> flow.take
                              outbox.ack ─────> ring up   ─> doorbell ──> group ─> outbox.ack
  Submit  <- GrpcUnaryLink <- port.outbox <──── ring down <─ doorbell <── group <─ outbox.take
                              free_slots <───── one word  <─ (doorbell) <─ group <─ intake.free_slots

  process.py    the program that a link process runs        boot.py      how it is started, and what it is told
  port.py       the daemon, as its link sees it             handle.py    it, as the supervisor sees it
  group.py      all of them, as one hub link                callers.py   who may call, and how much each may ask for
  listener.py   what comes down to it                       records.py   through the rings, and beside them
  roster.py     starts them, and replaces those that end

Inside a link process runs the same ``GrpcUnaryLink`` as in a supervisor without one: pacing, retries and the forms of a
result are its business. Dispatch, deadlines, limits and the outbox stay with the supervisor.

What the end of a link process costs, at whatever instant it is killed: tasks that are whole in its ring are taken;
results that it had not acknowledged go out through others, and the hub drops second copies. A task that the hub had
answered, and that never reached the ring, was never seen by the supervisor: its lease at the hub ends, and the hub
gives it to somebody else. The same happens to a task whose ``GetTask`` reply is lost on the way, with or without links.
"""
