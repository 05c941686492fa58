"""Encoding of responses as JSON text: one msgspec pass, and only if that fails a search for the value at fault.

Beyond what msgspec encodes by itself: subclasses of str, int and float, mappings, pydantic models, and arbd's logger
(as a short string, because ``**kwargs`` of a handler contains it). NaN and the infinities become ``null``, because JSON
has no other form for them.

With the ``metadata`` envelope the data of every response, whatever its status, is wrapped: ``{"provider", "action",
"timezone", "now", "now_utc", "response": <the plain data>}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

import msgspec

from arbd.errors import ResultError
from arbd.model.response import ProviderResponse
from arbd.zones import zone

Envelope = Literal["plain", "metadata"]

#: Levels that the search goes down. A structure that contains itself has no end.
_MAX_DEPTH: Final = 64
#: Characters of a path that are reported. A key may be as long as the data.
_MAX_PATH: Final = 500


class Metadata(msgspec.Struct):
    """The ``metadata`` envelope around the plain data."""

    provider: str
    action: str
    timezone: str
    now: datetime
    now_utc: datetime
    response: Any


class ResponseSettings(Protocol):
    """What the settings say of responses."""

    @property
    def name(self) -> str: ...
    @property
    def timezone(self) -> str: ...
    @property
    def response_envelope(self) -> Envelope: ...


class Encoder:
    """The encoder of one provider's responses. ``max_result`` is the largest JSON text in bytes, ``None`` for no limit.
    ``logger`` is the object handlers are given as ``logger``."""

    def __init__(
        self,
        *,
        provider: str,
        timezone: str,
        utc_now: Callable[[], datetime],
        envelope: Envelope = "plain",
        max_result: int | None = None,
        logger: object = None,
    ) -> None:
        self._provider = provider
        self._timezone = timezone
        self._zone = zone(timezone)
        self._utc_now = utc_now
        self._wraps = envelope == "metadata"
        self._max_result = float("inf") if max_result is None else max_result
        self._encode = msgspec.json.Encoder(enc_hook=_hook(provider, logger)).encode

    @classmethod
    def of(cls, settings: ResponseSettings) -> Encoder:
        """One for the responses that the daemon itself makes: of any size, and with the time of the host."""
        return cls(
            provider=settings.name,
            timezone=settings.timezone,
            utc_now=lambda: datetime.now(UTC),
            envelope=settings.response_envelope,
        )

    def encode(self, action: str, response: ProviderResponse) -> bytes:
        """The JSON text of ``response``. Raises :class:`~arbd.errors.ResultError` if it cannot be sent."""
        text = self.encode_any_size(action, response)
        if len(text) > self._max_result:
            raise ResultError(
                f"The result of action '{action}' has {len(text)} bytes; at most {self._max_result} can be sent",
                {"error_code": "RESULT_TOO_LARGE", "size": len(text), "limit": self._max_result},
            )
        return text

    def encode_any_size(self, action: str, response: ProviderResponse) -> bytes:
        """The JSON text of ``response``, whatever its length. Raises :class:`~arbd.errors.ResultError`."""
        try:
            return self._encode(self._wrap(action, response) if self._wraps else response)
        except Exception as exc:
            raise self._explain(response, exc) from exc

    def _wrap(self, action: str, response: ProviderResponse) -> ProviderResponse:
        now_utc = self._utc_now()
        now = now_utc.astimezone(self._zone)
        data = Metadata(self._provider, action, self._timezone, now, now_utc, response.data)
        return ProviderResponse(response.status, response.message, data)

    def _explain(self, response: ProviderResponse, cause: Exception) -> ResultError:
        path, kind = self._culprit(response)
        if isinstance(cause, RecursionError):
            kind = f"{kind}, nested too deeply or inside itself"
        data = {"error_code": "RESULT_NOT_ENCODABLE", "path": path, "type": kind}
        return ResultError(f"The action returned something JSON has no form for: {path}: {kind}", data)

    def _culprit(self, value: Any) -> tuple[str, str]:
        """Path and type of the first innermost value that does not encode."""
        path = ""
        for _ in range(_MAX_DEPTH):
            for step, child in _children(value):
                if not self._encodes(child):
                    path, value = path + step, child
                    break
            else:
                break
        return path.removeprefix(".")[:_MAX_PATH], _kind(value)

    def _encodes(self, value: Any) -> bool:
        try:
            self._encode(value)
        except Exception:
            return False
        return True


class _Key(msgspec.Struct):
    """A dict's key in the search: this encodes if and only if the key does."""

    entry: dict[Any, None]


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, _Key):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f".key({key!r})", _Key({key: None})
            yield f".{key}" if isinstance(key, str) else f"[{key!r}]", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        yield from ((f".{name}", getattr(value, name)) for name in _attributes(value))


def _attributes(value: Any) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in fields(value))
    return ()


def _kind(value: Any) -> str:
    if isinstance(value, _Key):
        [value] = value.entry
    cls = type(value)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"{name} with a lone surrogate, which is no UTF-8" if isinstance(value, str) else name


def _hook(provider: str, logger: object) -> Callable[[Any], Any]:
    """The function that msgspec calls for an object of a type it does not know."""
    # `logger.bind(...)` gives another object of the same class.
    logger_class = () if logger is None else type(logger)

    def hook(value: Any) -> Any:
        for plain in (str, int, float):
            if isinstance(value, plain):
                return plain(value)
        if isinstance(value, Mapping):
            return dict(value)
        if value is logger or isinstance(value, logger_class):
            return f"<logger {provider}>"
        if hasattr(type(value), "model_dump"):
            return value.model_dump(mode="json")
        raise NotImplementedError

    return hook
