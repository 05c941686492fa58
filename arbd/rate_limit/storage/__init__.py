"""Storage of limits that several daemons share: each daemon holds a *lease* and draws on it without asking.

on one host:   host_lease.py  (words of a file that all daemons map)
on many:       redis_lease.py (pure) ─ redis_script.py (runs in Redis) ─ redis_client.py (the connection)
               redis_gate.py  a monitor alone, outside a daemon        redis_checks.py  what an author may give
"""
