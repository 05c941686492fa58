"""arbd: a multiprocess provider daemon. This is what an author imports::

    from arbd import Provider, ProviderResponse, action

Names are imported when they are first used, so that ``import arbd`` costs nothing and no process loads what another
one needs.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # a type checker takes it for true; importing typing takes as long as all else here

if TYPE_CHECKING:
    from typing import Any

    from arbd.author.actions import action as action
    from arbd.author.lifespan import on_worker_start as on_worker_start
    from arbd.author.lifespan import on_worker_stop as on_worker_stop
    from arbd.author.lifespan import resource as resource
    from arbd.author.provider import Provider as Provider
    from arbd.errors import ActionNotFoundError as ActionNotFoundError
    from arbd.errors import ArbdError as ArbdError
    from arbd.errors import BindingError as BindingError
    from arbd.errors import ConfigError as ConfigError
    from arbd.errors import DuplicateActionError as DuplicateActionError
    from arbd.errors import InvalidAccountError as InvalidAccountError
    from arbd.errors import InvalidPayloadError as InvalidPayloadError
    from arbd.errors import ProviderError as ProviderError
    from arbd.errors import RegistrationError as RegistrationError
    from arbd.errors import ResourceError as ResourceError
    from arbd.errors import ResultError as ResultError
    from arbd.errors import SchemaError as SchemaError
    from arbd.errors import TaskTimeout as TaskTimeout
    from arbd.model.response import ProviderResponse as ProviderResponse
    from arbd.model.task import TaskInfo as TaskInfo
    from arbd.rate_limit import NoRateLimitMonitor as NoRateLimitMonitor
    from arbd.rate_limit import RateLimitMonitor as RateLimitMonitor

    __version__: str

_HOME = {
    "arbd.author.actions": ("action",),
    "arbd.author.lifespan": ("on_worker_start", "on_worker_stop", "resource"),
    "arbd.errors": (
        *("ActionNotFoundError", "ArbdError", "BindingError", "ConfigError", "DuplicateActionError"),
        *("InvalidAccountError", "InvalidPayloadError", "ProviderError", "RegistrationError", "ResourceError"),
        *("ResultError", "SchemaError", "TaskTimeout"),
    ),
    "arbd.model.task": ("TaskInfo",),
    "arbd.author.provider": ("Provider",),
    "arbd.rate_limit": ("NoRateLimitMonitor", "RateLimitMonitor"),
    "arbd.model.response": ("ProviderResponse",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("arbd")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'arbd' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, "__version__"})
