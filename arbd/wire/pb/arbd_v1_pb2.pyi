from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_SUCCESS: _ClassVar[Status]
    STATUS_ERROR: _ClassVar[Status]
    STATUS_LIMIT: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
STATUS_SUCCESS: Status
STATUS_ERROR: Status
STATUS_LIMIT: Status

class ProviderFrame(_message.Message):
    __slots__ = ("acked", "credit", "hello", "actions", "results", "renew", "seq")
    ACKED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    acked: int
    credit: int
    hello: Hello
    actions: Actions
    results: _containers.RepeatedCompositeFieldContainer[Result]
    renew: _containers.RepeatedScalarFieldContainer[str]
    seq: int
    def __init__(self, acked: _Optional[int] = ..., credit: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., actions: _Optional[_Union[Actions, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., renew: _Optional[_Iterable[str]] = ..., seq: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version", "provider", "auth_token", "session", "max_frame", "holding")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    AUTH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    version: int
    provider: str
    auth_token: str
    session: str
    max_frame: int
    holding: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., provider: _Optional[str] = ..., auth_token: _Optional[str] = ..., session: _Optional[str] = ..., max_frame: _Optional[int] = ..., holding: _Optional[_Iterable[str]] = ...) -> None: ...

class Actions(_message.Message):
    __slots__ = ("actions",)
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    def __init__(self, actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("name", "description", "timeout_s", "payload_schema", "account_schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    timeout_s: float
    payload_schema: str
    account_schema: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., timeout_s: _Optional[float] = ..., payload_schema: _Optional[str] = ..., account_schema: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "attempt", "status", "result")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    id: str
    attempt: int
    status: Status
    result: bytes
    def __init__(self, id: _Optional[str] = ..., attempt: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., result: _Optional[bytes] = ...) -> None: ...

class HubFrame(_message.Message):
    __slots__ = ("acked", "welcome", "tasks", "cancel", "refused", "go_away", "seq")
    ACKED_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    acked: int
    welcome: Welcome
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    cancel: _containers.RepeatedScalarFieldContainer[str]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    go_away: GoAway
    seq: int
    def __init__(self, acked: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., cancel: _Optional[_Iterable[str]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ..., seq: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("version", "lease_ms", "max_frame")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_FIELD_NUMBER: _ClassVar[int]
    version: int
    lease_ms: int
    max_frame: int
    def __init__(self, version: _Optional[int] = ..., lease_ms: _Optional[int] = ..., max_frame: _Optional[int] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "action", "payload", "account", "attempt", "time_left_us", "traceparent", "priority", "tracestate")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_US_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: str
    payload: bytes
    account: bytes
    attempt: int
    time_left_us: int
    traceparent: str
    priority: int
    tracestate: str
    def __init__(self, id: _Optional[str] = ..., action: _Optional[str] = ..., payload: _Optional[bytes] = ..., account: _Optional[bytes] = ..., attempt: _Optional[int] = ..., time_left_us: _Optional[int] = ..., traceparent: _Optional[str] = ..., priority: _Optional[int] = ..., tracestate: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reason", "reconnect_after_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    reconnect_after_ms: int
    def __init__(self, reason: _Optional[str] = ..., reconnect_after_ms: _Optional[int] = ...) -> None: ...
