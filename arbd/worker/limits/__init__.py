"""The worker's side of rate limits: whether a task may start, and what to do if it may not.

    seats.py            the seats of this worker, and live limits

An author's own monitors with ``shared = True`` are asked in one process for all workers:

    monitor_client.py   a worker asks            monitor_server.py   the process answers
    monitor_process.py  the zygote starts it
"""
