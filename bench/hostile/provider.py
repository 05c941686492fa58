"""The provider of the campaign: innocent and hostile actions together."""

from __future__ import annotations

from bench.hostile import hostile
from bench.hostile.innocent import provider

__all__ = ["hostile", "provider"]
