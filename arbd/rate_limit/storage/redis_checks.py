"""Checks of an author's arguments for Redis. The URL may hold a password, so no message and no repr shows it."""

from __future__ import annotations

from importlib.util import find_spec
from math import isfinite
from typing import Final
from urllib.parse import urlsplit

from arbd.model.limit_spec import ON_BACKEND_ERROR, RedisBackend

_SCHEMES: Final = ("redis", "rediss", "unix")
_FORMS: Final = "redis://[user:password@]host[:port][/db], rediss://... for TLS, or unix:///path/to/socket[?db=0]"
INSTALL: Final = "pip install 'arbd[redis]'"


def checked_backend(url: object, key_prefix: object, on_error: object, timeout: object) -> RedisBackend:
    """The backend that the arguments describe. Raises ``ValueError`` with the reason."""
    if find_spec("redis") is None:
        raise ValueError(f"it needs redis-py, which is not installed: {INSTALL}")
    _check_url(url)
    if not isinstance(key_prefix, str) or not key_prefix.strip():
        raise ValueError(f"key_prefix is a text that is not empty; got {key_prefix!r}")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not isfinite(timeout):
        raise ValueError(f"timeout is a number of seconds; got {timeout!r}")
    if not 0.01 <= timeout <= 10:
        raise ValueError(f"timeout is from 0.01 to 10 seconds; got {timeout!r}")
    for known in ON_BACKEND_ERROR:
        if on_error == known:
            return RedisBackend(str(url), key_prefix, known, float(timeout))
    raise ValueError(f"on_backend_error is one of {', '.join(ON_BACKEND_ERROR)}; got {on_error!r}")


def _check_url(url: object) -> None:
    if not isinstance(url, str):
        raise ValueError(f"redis_url is a text such as {_FORMS}; got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its own message would show a part of the password
        raise ValueError(
            "redis_url cannot be read; a password with special characters has to be percent-encoded"
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"redis_url has one of these forms: {_FORMS}; got one that starts otherwise")
    if parts.scheme == "unix" and not parts.path.strip("/"):
        raise ValueError(f"redis_url names no socket; a form is {_FORMS}")
    if parts.scheme != "unix" and (not parts.hostname or port == 0):
        raise ValueError(f"redis_url names no host; a form is {_FORMS}")
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdigit():
        raise ValueError("redis_url: the part after the host is the number of a database, such as /0")
