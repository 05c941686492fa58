"""The worker's side of rate limits: may this task start, and what to do if it may not.

seats.py   its place in every limit: check, spend      asking.py    waiting for a grant
one_place.py  limits whose calls all go to one worker
"""
