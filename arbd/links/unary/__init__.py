"""The unary protocol of ``protos/hub.proto``: ``GetTask`` and ``SubmitTaskResult``, many at once, on one channel.

link.py        the calls, released one by one          connection.py  what it means for the hub to be away
policy.py      what a status code means                sending.py     results: in line, under way, to be sent again
messages.py    bytes to tasks, outcomes to bytes
"""
