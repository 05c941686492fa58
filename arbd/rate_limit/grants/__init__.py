"""Grants: one limit over all workers of a daemon without a lock. The supervisor grants starts, a worker spends them.

worker: worker_seat.py  ──asked, spent (the worker's words)──>  account.py: the one real limit  :supervisor
                        <──granted (the supervisor's word)────  over supervisor_seat.py
seat.py   the protocol of both sides        live.py   limits that are set while the daemon runs
"""
