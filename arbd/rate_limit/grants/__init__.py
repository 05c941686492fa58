"""One limit over the workers of one daemon, without a lock: the supervisor grants, a worker spends.

worker: seat.py  ──wants, spent (its own words)──>  account.py: the one real limit  :supervisor
                 <──granted (the supervisor's word)──
live.py   limits that were set while the daemon runs
"""
