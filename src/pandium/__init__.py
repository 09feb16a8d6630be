"""
An async-first SDK for the Pandium API.

Importing this package imports none of its modules. Each name is imported when it is first used, so
that the emulator, the webhooks and the errors can be used without the client.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from pandium._version import __version__

if TYPE_CHECKING:
    from pandium import errors, models
    from pandium._client import AsyncPandium
    from pandium._listing.cursor import Page
    from pandium._listing.listing import Listing
    from pandium._serialization.convert import to_dict, to_json
    from pandium._sync.iteration import SyncListing
    from pandium._sync.sync_client import Pandium
    from pandium._transport.events import ResponseEvent
    from pandium._transport.retry import Retry
    from pandium._waiting.polling import Polling
    from pandium._waiting.results import Progress, RunResult
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
        JournalError,
        NotFound,
        PandiumError,
        RateLimited,
        RequestTimeout,
        RunFailed,
        ServerError,
        TransportError,
        UnusableJournal,
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
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectorError",
    "DecodeError",
    "DriftError",
    "ErrorDetail",
    "IntegrationType",
    "JournalError",
    "Listing",
    "NotFound",
    "Outcome",
    "Page",
    "Pandium",
    "PandiumError",
    "Polling",
    "Progress",
    "RateLimited",
    "ReleaseChannel",
    "RequestTimeout",
    "ResponseEvent",
    "Retry",
    "RunFailed",
    "RunMode",
    "RunResult",
    "ServerError",
    "SyncListing",
    "TransportError",
    "Trigger",
    "TriggerStatus",
    "UnusableJournal",
    "ValidationError",
    "WaitTimeout",
    "__version__",
    "errors",
    "models",
    "to_dict",
    "to_json",
]

# The module of each name, for `__getattr__`. The imports above are for type checkers and editors.
_MODULES = {
    "APIError": "pandium.errors",
    "AsyncPandium": "pandium._client",
    "Attempt": "pandium.errors",
    "AuthenticationError": "pandium.errors",
    "BadRequest": "pandium.errors",
    "ConfigurationError": "pandium.errors",
    "ConnectFailed": "pandium.errors",
    "ConnectionLost": "pandium.errors",
    "ConnectorError": "pandium.errors",
    "DecodeError": "pandium.errors",
    "DriftError": "pandium.errors",
    "ErrorDetail": "pandium.errors",
    "IntegrationType": "pandium.models",
    "JournalError": "pandium.errors",
    "Listing": "pandium._listing.listing",
    "NotFound": "pandium.errors",
    "Outcome": "pandium.models",
    "Page": "pandium._listing.cursor",
    "Pandium": "pandium._sync.sync_client",
    "PandiumError": "pandium.errors",
    "Polling": "pandium._waiting.polling",
    "Progress": "pandium._waiting.results",
    "RateLimited": "pandium.errors",
    "ReleaseChannel": "pandium.models",
    "RequestTimeout": "pandium.errors",
    "ResponseEvent": "pandium._transport.events",
    "Retry": "pandium._transport.retry",
    "RunFailed": "pandium.errors",
    "RunMode": "pandium.models",
    "RunResult": "pandium._waiting.results",
    "ServerError": "pandium.errors",
    "SyncListing": "pandium._sync.iteration",
    "TransportError": "pandium.errors",
    "Trigger": "pandium.models",
    "TriggerStatus": "pandium.models",
    "UnusableJournal": "pandium.errors",
    "ValidationError": "pandium.errors",
    "WaitTimeout": "pandium.errors",
    "to_dict": "pandium._serialization.convert",
    "to_json": "pandium._serialization.convert",
}

# If type checkers saw `__getattr__`, they would accept any name.
if not TYPE_CHECKING:  # pragma: no branch - always true at run time

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            value = getattr(_import(_MODULES[name]), name)
        elif name in __all__:
            value = _import(f"pandium.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def _import(module: str) -> ModuleType:
    try:
        return import_module(module)
    except AttributeError as error:  # Python would report only that the name does not exist
        raise ImportError(f"cannot import {module}: {error}") from error
