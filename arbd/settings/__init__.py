"""The settings of an operator, and how layers of them become values. A part is given its own values, not these.

flags ─┐
environment ─┼─> table.py (every setting: name, kind, default, limits) ─> Settings, or all problems at once
files.py ────┘     kinds.py  how a value is read and written           secrets.py  what is never shown
"""
