"""Schemas of payloads and accounts: compiled once, then one pass over the bytes of each task.

What is where, in the order a schema goes through it:

* ``spec.py``      what an author writes -> a type msgspec can decode; refuses what cannot work
* ``plan.py``      that type -> a tree that can be walked
* ``compile.py``   both -> :class:`Schema`, the only thing the rest of arbd holds
* ``explain.py``   every problem of data that was refused, as ``problems.py`` words them
* ``export.py``    JSON Schema and the summary
* ``pydantic_bridge.py``  models, without importing pydantic
"""

from __future__ import annotations

from arbd.errors import SchemaError
from arbd.schema.compile import Schema, compile_schema
from arbd.schema.problems import Invalid, Problem

__all__ = ["Invalid", "Problem", "Schema", "SchemaError", "compile_schema"]
