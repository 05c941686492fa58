"""The messages of the unary protocol as bytes, and the forms in which a result can be sent.

Not the transport. The forms of a result, from the whole truth to the smallest that is still true:

    FULL        everything the protocol asks for
    NO_ECHO     without the echo of payload and account: a success stays a success
    REPLACED    an error in place of a result that is too large, and no echo
"""

from __future__ import annotations

import enum
from typing import Protocol

from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb


class Form(enum.Enum):
    """The form in which a result is sent."""

    FULL = 0
    NO_ECHO = 1
    REPLACED = 2


class ResultOptions(Protocol):
    """The options of ``encode_result``; ``LinkOptions`` has them."""

    @property
    def provider(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def max_message(self) -> int: ...
    def too_large_result(self, task: Task, size: int, limit: int, /) -> bytes: ...


def encode_request(provider: str, token: str) -> bytes:
    """The body of every GetTask of a link: it never changes."""
    return pb.ProviderRequest(provider=provider, auth_token=token).SerializeToString()


def decode_task(data: bytes) -> Task | None:
    """The task in an answer; ``None`` if it has no id. Raises protobuf's ``DecodeError`` if it is no Task."""
    if not data:
        return None
    message = pb.Task.FromString(data)
    task_id = message.id
    return Task(task_id, message.action, message.payload, message.account) if task_id else None


def encode_result(outcome: Outcome, options: ResultOptions, form: Form = Form.FULL) -> tuple[bytes, Form]:
    """The first form, from ``form`` on, that fits into ``options.max_message``; the last one if none does."""
    limit = options.max_message
    # Before it is encoded: protobuf refuses to make what is larger than 2 GiB, and the rest would be made for nothing.
    while form is not Form.REPLACED and _size_at_least(outcome, form) > limit:
        form = Form(form.value + 1)
    data = _encode(outcome, options, form)
    while len(data) > limit and form is not Form.REPLACED:
        form = Form(form.value + 1)
        data = _encode(outcome, options, form)
    return data, form


def _size_at_least(outcome: Outcome, form: Form) -> int:
    """Bytes of the long fields: replacement characters for what is no UTF-8 never make them shorter."""
    size = len(outcome.result)
    return size if form is Form.NO_ECHO else size + len(outcome.task.payload) + len(outcome.task.account)


def _encode(outcome: Outcome, options: ResultOptions, form: Form) -> bytes:
    task, status, result = outcome.task, outcome.status, outcome.result
    payload, account = task.payload, task.account
    if form is not Form.FULL:
        payload = account = b""
    if form is Form.REPLACED:
        status = "error"
        limit = options.max_message if len(result) > options.max_message else 0
        result = options.too_large_result(task, len(result), limit)
    return pb.TaskResult(
        id=task.id,
        provider=options.provider,
        auth_token=options.token,
        status=status,
        action=task.action,
        # The field is a string: bytes that are not UTF-8 are echoed with replacement characters.
        payload=payload.decode("utf-8", "replace"),
        result=result.decode("utf-8", "replace"),
        account=account.decode("utf-8", "replace"),
    ).SerializeToString()
