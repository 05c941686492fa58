"""Decisions without input or output: time is an argument, and nothing here waits, sends or forks.

task ─> dispatch.py (which worker) ─> lines.py (what waits, in turn)
deadlines.py  when a task has taken too long        outbox.py     results until the hub has them
lifecycle.py  the states of a worker                restarts.py   when a dead one is replaced
placement.py  which CPU each worker has             flight_recorder.py   the times of the last tasks
metrics.py    what is counted of tasks              refusals.py   when a refused task is worth a line
"""
