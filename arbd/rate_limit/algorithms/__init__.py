"""The algorithms of limits: how many calls may start now, and when the next one may. Pure: time is an argument.

build.py  a spec ──> one ``Limit``         base.py  what a limit is; outstanding calls
bucket.py  window.py  budget.py  adaptive.py  calendar.py
"""
