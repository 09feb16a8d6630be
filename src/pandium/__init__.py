"""An async-first SDK for the Pandium API."""

from pandium import errors, models
from pandium._client import AsyncPandium
from pandium._listing.listing import Listing, Page
from pandium._serialization.convert import to_dict, to_json
from pandium._transport.events import ResponseEvent
from pandium._transport.retry import Retry
from pandium._version import __version__
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

# Make tracebacks, reprs and pickles show the names that users import.
for _value in [globals()[_name] for _name in __all__]:
    if getattr(_value, "__module__", "").startswith("pandium._"):
        _value.__module__ = "pandium"
