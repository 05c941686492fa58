"""``Logger(name=, level=, format=)``: a provider's own logger, written as the specs write it.

The lines go where all lines go (``arbd.logs``); this only names, levels and formats them.
"""

from __future__ import annotations

import logging

from arbd import logs


def Logger(name: str = "provider", level: str | int = "INFO", format: str | None = None) -> logs.Logger:
    """A logger with a level of its own.

    ``format`` is a %-format of ``logging``, such as ``"%(asctime)s %(name)s %(message)s"``. It shapes the lines
    people read (``log.format`` is ``console``); JSON lines keep their fields. Raises ``ValueError`` for a format
    without a field or an unknown level.
    """
    logger = logs.get_logger(name, logging.Formatter(format) if format else None)
    logger.setLevel(level)
    return logger
