"""Encoding of responses as JSON text: one msgspec pass, and only if that fails a search for the value at fault.

What msgspec does not encode by itself has its form in ``json_forms``. JSON has none for NaN and the infinities: in the
data of a success they are refused, unless ``nan`` is ``null``; an error or a limit keeps its message and the rest of
its data, so there they are ``null``. msgspec writes ``null`` for them: only where the text has one they are looked for.

With the ``metadata`` envelope the data of every response, whatever its status, is wrapped: ``{"provider", "action",
"timezone", "now", "now_utc", "response": <the plain data>}``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

import msgspec

from arbd.errors import ResultError
from arbd.model import raw_json
from arbd.model.culprit import Culprit, NonFinite, children_of, not_encodable
from arbd.model.json_forms import forms
from arbd.model.response import ProviderResponse
from arbd.zones import zone

_ELL: Final = ord("l")

Envelope = Literal["plain", "metadata"]
NonFiniteForm = Literal["error", "null"]


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
    ``logger`` is the object handlers are given as ``logger``. ``nan``: what becomes of NaN and the infinities."""

    def __init__(
        self,
        *,
        provider: str,
        timezone: str,
        utc_now: Callable[[], datetime],
        envelope: Envelope = "plain",
        max_result: int | None = None,
        logger: object = None,
        nan: NonFiniteForm = "error",
    ) -> None:
        self._provider = provider
        self._timezone = timezone
        self._zone = zone(timezone)
        self._utc_now = utc_now
        self._wraps = envelope == "metadata"
        self._max_result = float("inf") if max_result is None else max_result
        self._form = forms(provider, logger)
        self._encode = msgspec.json.Encoder(enc_hook=self._form).encode
        self._encode_unseen = self._encode
        raw_json.when_taken(self)
        self._refuses_nan = nan == "error"
        self._non_finite = NonFinite(forms(provider, logger, dump_mode="python"))

    def raw_taken(self) -> None:
        """Look from now on for text that is sent as JSON unseen."""
        self._encode = self._encode_seen

    def _encode_seen(self, value: Any) -> bytes:
        text = self._encode_unseen(value)
        raw_json.refuse_bad(value, lambda each: children_of(each, self._form))
        return text

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
        try:
            text = self._encode(self._wrap(action, response) if self._wraps else response)
        except Exception as exc:
            raise self._explain(response, exc) from exc
        if (
            self._refuses_nan
            and response.data is not None
            and response.status == "success"
            and _ELL in text  # most have none: the rest of a response is written without it
            and text.rfind(b"null") >= 0  # `in` raises and drops an exception first
        ):
            self._refuse_non_finite(response)
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

    def _refuse_non_finite(self, response: ProviderResponse) -> None:
        culprit = self._non_finite.find(response.data)
        if culprit is not None:
            raise _refusal(culprit)

    def _explain(self, response: ProviderResponse, cause: Exception) -> ResultError:
        return _refusal(not_encodable(response, self._form, self._encodes, cause))

    def _encodes(self, value: Any) -> bool:
        try:
            self._encode(value)
        except Exception:
            return False
        return True


def _refusal(culprit: Culprit) -> ResultError:
    path, kind, remedy = culprit
    data = {"error_code": "RESULT_NOT_ENCODABLE", "path": path, "type": kind}
    return ResultError(f"The action returned something JSON has no form for: {path}: {kind}; {remedy}", data)
