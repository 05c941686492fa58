"""The supervisor's side of rate limits: who may start, and where what is shared with other daemons is kept.

limits.py  all limits of the daemon           hold.py       tasks that wait for a limit in the supervisor
host_file.py  what daemons of a host share    redis_talk.py what hosts share
    put_off.py    a limit whose storage fails
"""
