"""What an operator can set. Not what a part does with it: each part is given its own values.

flags ─┐
environment ─┼─> table.py (every setting: name, kind, default, limits) ─> Settings, or all problems at once
files.py ────┘     kinds.py  how a value is read and written           secrets.py  what is never shown
"""
