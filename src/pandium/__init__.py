"""An async-first SDK for the Pandium API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pandium._version import __version__

if TYPE_CHECKING:
    from pandium import errors, models
    from pandium._client import AsyncPandium
    from pandium._convert import to_dict, to_json
    from pandium._paging import Listing, Page
    from pandium._polling import Completed, Polling
    from pandium._retry import Retry
    from pandium.errors import (
        APIError,
        Attempt,
        AuthenticationError,
        BadRequest,
        ConfigurationError,
        ConnectFailed,
        ConnectionLost,
        ConnectorError,
        DecodeError,
        DriftError,
        ErrorDetail,
        NotFound,
        PandiumError,
        RateLimited,
        RequestTimeout,
        RunFailed,
        ServerError,
        TransportError,
        ValidationError,
        WaitTimeout,
    )
    from pandium.models import (
        IntegrationType,
        Outcome,
        ReleaseChannel,
        RunMode,
        Trigger,
        TriggerStatus,
    )

__all__ = [
    "APIError",
    "AsyncPandium",
    "Attempt",
    "AuthenticationError",
    "BadRequest",
    "Completed",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectorError",
    "DecodeError",
    "DriftError",
    "ErrorDetail",
    "IntegrationType",
    "Listing",
    "NotFound",
    "Outcome",
    "Page",
    "PandiumError",
    "Polling",
    "RateLimited",
    "ReleaseChannel",
    "RequestTimeout",
    "Retry",
    "RunFailed",
    "RunMode",
    "ServerError",
    "TransportError",
    "Trigger",
    "TriggerStatus",
    "ValidationError",
    "WaitTimeout",
    "__version__",
    "errors",
    "models",
    "to_dict",
    "to_json",
]

# Where the names above are at home. They are loaded at the first use of any of them, so that what
# needs none of them, such as the command's help, does not wait for HTTP and JSON.
_HOMES = ("_client", "_convert", "_paging", "_polling", "_retry", "errors", "models")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in (import_module(f"pandium.{home}") for home in _HOMES):
        for found in set(module.__all__).intersection(__all__):
            globals()[found] = value = getattr(module, found)
            # Tracebacks, reprs and pickles show the names that users import.
            if value.__module__.startswith("pandium._"):
                value.__module__ = "pandium"
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
