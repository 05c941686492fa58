"""The libraries that CPU-heavy actions are made of, in workers beside bare processes: ``make libraries``.

jobs.py      a call of 5 to 20 ms of each library        provider.py  the same as an action, imported in three ways
bare.py      the same in a process without arbd          measure.py   one library in one way against bare processes
footprint.py memory of a worker, and how soon it is replaced
rows.py      what was measured; what was promised; the tables
"""
