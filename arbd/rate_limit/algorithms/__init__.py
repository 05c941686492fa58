"""How many calls may start now, and when the next one may: pure, time in nanoseconds as an argument.

build.py  a spec ──> one ``Limit``         base.py  what a limit is; outstanding calls
bucket.py  window.py  budget.py  adaptive.py  calendar.py
"""
