"""The values that travel between the other packages. No behaviour but checks and encodings.

task.py      a task, its outcome, and what an action is told about it      trace.py        trace context
response.py  what is answered for it                                       encoding.py     to bytes
description.py what a provider holds, as its zygote tells the supervisor   limit_spec.py   one limit, as data
link_stats.py  what a link to the hub reports                              flight.py       the times of one task
metric.py    an author's metric                                            reasons.py      why a task failed
"""
