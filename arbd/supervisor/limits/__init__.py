"""The supervisor's side of rate limits: which worker may start calls, and where limits shared with others are kept.

limits.py     answers workers that ask                    accounts.py    which limits are open
hold.py       tasks that are left with the hub            put_off.py     limits that failed and are retried later
host_file.py  what the daemons of a host share            redis_talk.py  what many hosts share
"""
