from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NewTask(_message.Message):
    __slots__ = ("id", "action", "payload", "account", "provider", "priority", "timeout_ms", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: str
    payload: bytes
    account: bytes
    provider: str
    priority: int
    timeout_ms: int
    traceparent: str
    def __init__(self, id: _Optional[str] = ..., action: _Optional[str] = ..., payload: _Optional[bytes] = ..., account: _Optional[bytes] = ..., provider: _Optional[str] = ..., priority: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., traceparent: _Optional[str] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("batch", "tasks")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    batch: str
    tasks: _containers.RepeatedCompositeFieldContainer[NewTask]
    def __init__(self, batch: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[NewTask, _Mapping]]] = ...) -> None: ...

class SubmitReply(_message.Message):
    __slots__ = ("batch", "ids")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    batch: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, batch: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ...) -> None: ...

class AwaitRequest(_message.Message):
    __slots__ = ("batch", "skip")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    batch: str
    skip: int
    def __init__(self, batch: _Optional[str] = ..., skip: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "action", "provider", "status", "result", "attempts", "taken_s")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_S_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: str
    provider: str
    status: str
    result: bytes
    attempts: int
    taken_s: float
    def __init__(self, id: _Optional[str] = ..., action: _Optional[str] = ..., provider: _Optional[str] = ..., status: _Optional[str] = ..., result: _Optional[bytes] = ..., attempts: _Optional[int] = ..., taken_s: _Optional[float] = ...) -> None: ...

class Results(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelReply(_message.Message):
    __slots__ = ("finished",)
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    finished: bool
    def __init__(self, finished: bool = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("at_s", "kind", "provider", "attempt", "status")
    AT_S_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    at_s: float
    kind: str
    provider: str
    attempt: int
    status: str
    def __init__(self, at_s: _Optional[float] = ..., kind: _Optional[str] = ..., provider: _Optional[str] = ..., attempt: _Optional[int] = ..., status: _Optional[str] = ...) -> None: ...

class HistoryReply(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsReply(_message.Message):
    __slots__ = ("counters",)
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    counters: _containers.ScalarMap[str, int]
    def __init__(self, counters: _Optional[_Mapping[str, int]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Provider(_message.Message):
    __slots__ = ("name", "streams", "polls", "leased", "connected", "actions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    POLLS_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    streams: int
    polls: int
    leased: int
    connected: bool
    actions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., streams: _Optional[int] = ..., polls: _Optional[int] = ..., leased: _Optional[int] = ..., connected: bool = ..., actions: _Optional[_Iterable[str]] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("providers", "queued", "leased", "finished", "lease_s", "uptime_s", "max_message")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    queued: int
    leased: int
    finished: int
    lease_s: float
    uptime_s: float
    max_message: int
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ..., queued: _Optional[int] = ..., leased: _Optional[int] = ..., finished: _Optional[int] = ..., lease_s: _Optional[float] = ..., uptime_s: _Optional[float] = ..., max_message: _Optional[int] = ...) -> None: ...
