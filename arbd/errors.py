"""The tree of all exceptions arbd raises; the branch says who is at fault.

    ArbdError
    ├── ConfigError                  the operator: wrong settings; ``problems`` lists all of them
    │   └── TargetError              the operator: TARGET names no provider that can be loaded
    ├── ProviderError                the author, or the caller of an action
    │   ├── RegistrationError        the author: an action that can never work
    │   │   ├── DuplicateActionError
    │   │   ├── BindingError         a handler whose parameters cannot be filled
    │   │   └── SchemaError          a schema that describes nothing msgspec can check
    │   ├── ActionNotFoundError      the caller: no action of that name
    │   ├── InvalidPayloadError      the caller: payload does not fit its schema
    │   ├── InvalidAccountError      the caller: account does not fit its schema
    │   ├── ResourceError            the author: a resource that does not yield once
    │   └── ResultError              the author: a return value that cannot be sent
    ├── HubError                     the hub: a call failed; ``code`` is the gRPC status name
    ├── ControlError                 the operator: there is no such running daemon to ask, or it does not answer
    ├── ZygoteError                  the author's code failed to import, or its process died
    └── InvariantError               arbd itself: a bug; never raised by bad input

    TaskTimeout (BaseException)      the soft deadline, raised inside a running action
    └── TaskCancelled                the hub wants no result any more; likewise

Exit codes of the command line are here too, so that a supervisor script can tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

EXIT_OK: Final = 0
EXIT_FAILURE: Final = 1  # the daemon or a task failed while running
EXIT_USAGE: Final = 2  # the command line itself is wrong (click's code)
EXIT_CONFIG: Final = 78  # sysexits.h EX_CONFIG: settings or target are wrong; restarting cannot help
EXIT_ZYGOTE: Final = (
    70  # sysexits.h EX_SOFTWARE: the author's module broke, or workers cannot boot, and none has served
)
EXIT_UNEXPECTED: Final = 71  # sysexits.h EX_OSERR: a bug of arbd's, or the machine had nothing left; restarting helps
EXIT_UNFIT: Final = 75  # sysexits.h EX_TEMPFAIL, of a worker: a start hook or a resource failed; its slot tries again
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports Ctrl-C; the same for SIGTERM


def os_reason(error: OSError) -> str:
    """Why a call of the kernel failed, with the file it was about; for one that arbd raised, what it said."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


class ArbdError(Exception):
    """Base of every error arbd raises on purpose."""


class ConfigError(ArbdError):
    """Settings cannot work. ``problems`` holds one sentence for each of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class TargetError(ConfigError):
    """TARGET does not lead to a provider."""


class ProviderError(ArbdError):
    """An action failed for a reason its author or caller can act on. An author may raise it: ``data`` becomes the
    ``data`` of the error result, beside ``error_type``."""

    def __init__(self, message: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data = data


class RegistrationError(ProviderError):
    """An action that can never work, or a limit or monitor that cannot, was refused at registration."""


class DuplicateActionError(RegistrationError):
    """Two actions of one provider have the same name."""


class BindingError(RegistrationError):
    """A required parameter of a handler can be filled by nothing."""


class SchemaError(RegistrationError):
    """A schema cannot be compiled."""


class ActionNotFoundError(ProviderError):
    """No action of that name is registered."""


class InvalidPayloadError(ProviderError):
    """A payload does not fit the action's schema."""


class InvalidAccountError(ProviderError):
    """An account does not fit the action's account schema."""


class ResultError(ProviderError):
    """A return value cannot be encoded or is no valid response."""


class ResourceError(ProviderError):
    """A resource's generator did not yield exactly once."""


class HubError(ArbdError):
    """A hub call failed. ``code`` is the gRPC status name, such as ``UNAVAILABLE``."""

    def __init__(self, code: str, details: str = "") -> None:
        self.code = code
        self.details = details
        super().__init__(f"{code}: {details}" if details else code)


class ControlError(ArbdError):
    """A running daemon could not be asked; the message says why and what to do."""


class ZygoteError(ArbdError):
    """The process that holds the author's code could not start, or died."""


class InvariantError(ArbdError):
    """An impossible state occurred: a bug in arbd."""


class TaskTimeout(BaseException):
    """The soft deadline of the running task has passed; raised inside the action. A ``BaseException``, so that an
    action with ``except Exception`` does not swallow it."""


class TaskCancelled(TaskTimeout):
    """The hub has cancelled the running task. Passes through an action like the soft deadline."""
