from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ProviderRequest(_message.Message):
    __slots__ = ("provider", "auth_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    AUTH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    auth_token: str
    def __init__(self, provider: _Optional[str] = ..., auth_token: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "action", "payload", "account")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: str
    payload: bytes
    account: bytes
    def __init__(self, id: _Optional[str] = ..., action: _Optional[str] = ..., payload: _Optional[bytes] = ..., account: _Optional[bytes] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("id", "provider", "auth_token", "status", "action", "payload", "result", "account")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    AUTH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    id: str
    provider: str
    auth_token: str
    status: str
    action: str
    payload: str
    result: str
    account: str
    def __init__(self, id: _Optional[str] = ..., provider: _Optional[str] = ..., auth_token: _Optional[str] = ..., status: _Optional[str] = ..., action: _Optional[str] = ..., payload: _Optional[str] = ..., result: _Optional[str] = ..., account: _Optional[str] = ...) -> None: ...
