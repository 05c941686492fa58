"""The unary protocol of ``protos/hub.proto``: ``GetTask`` and ``SubmitTaskResult``, many at once, on one channel.

link.py        the link, made of those below         connection.py  the channel, replaced when it is silent
polls.py       GetTask: tasks in                       policy.py      what a status code means
submits.py     SubmitTaskResult: results out           sending.py     the order of results; those put aside
calls.py       what both share: pacing, connection     messages.py    bytes to tasks, outcomes to bytes
probes.py      is a hub that says nothing alive?
"""
