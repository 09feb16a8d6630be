"""
Hold what the API answers: frozen values that know nothing of the client.

Field names are snake_case. An optional field that is absent or null has the vendor's documented
default, or ``None``. Date-times are aware. Fields that the API adds later are ignored.
"""

from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Self, TypeVar

import attrs

__all__ = [
    "Category",
    "Connector",
    "ConnectorStatus",
    "Flag",
    "Integration",
    "IntegrationType",
    "Outcome",
    "Release",
    "ReleaseChannel",
    "Run",
    "RunMode",
    "RunStatus",
    "RunTrigger",
    "Tag",
    "Tenant",
    "TenantAuthStatus",
    "TenantMetadata",
    "TenantStatus",
    "Trigger",
    "TriggerStatus",
]

E = TypeVar("E", bound=StrEnum)


def _keep_unknown(cls: type[E], value: object) -> E | None:
    # A member for this one value, not registered with its class: what a server sends is without
    # bound, so nothing may pile up. It compares, hashes and pickles as its value.
    if not isinstance(value, str):
        return None
    member = str.__new__(cls, value)
    member._name_ = value.upper()
    member._value_ = value
    return member


class RunMode(StrEnum):
    """How a run reads its data. The API takes these two; runs may show others."""

    INIT = "init"
    NORMAL = "normal"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _keep_unknown(cls, value)


class IntegrationType(StrEnum):
    """Who an integration is for. Values that are not listed here are kept."""

    INTERNAL = "Internal"
    EXTERNAL = "External"
    PANDIUM = "Pandium"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _keep_unknown(cls, value)


class ReleaseChannel(StrEnum):
    """Which release a tenant follows. Values that are not listed here are kept."""

    LATEST = "Latest"
    DEFAULT = "Default"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _keep_unknown(cls, value)


class Outcome(Enum):
    """What a status word means for somebody who waits."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@attrs.frozen
class Connector:
    """A connector of an integration. ``is_global`` is ``isGlobal`` in the API."""

    name: str
    is_global: bool


@attrs.frozen
class Category:
    """A category of an integration in the marketplace."""

    name: str
    id: int
    order_index: float
    description: str | None = None


@attrs.frozen
class Tag:
    """A tag of an integration."""

    name: str
    id: int
    description: str | None = None


@attrs.frozen
class Flag:
    """A flag of an integration."""

    name: str
    id: int
    flag_color: str | None = None


@attrs.frozen
class Integration:
    """An integration: the primary record of an application on the platform."""

    id: int
    name: str
    long_name: str
    type: IntegrationType
    created_date: datetime | None = None
    modified_date: datetime | None = None
    connectors: list[Connector] | None = None
    repository_path: str | None = None
    repository_tracking_branch: str | None = None
    repository_url: str | None = None
    categories: list[Category] = attrs.field(factory=list)
    tags: list[Tag] = attrs.field(factory=list)
    flag: Flag | None = None
    default_release_id: int | None = None
    default_release_channel: ReleaseChannel | None = None


@attrs.frozen
class Release:
    """A release of an integration: one version of its code and of its schemas."""

    id: int
    name: str
    config_version: str
    repository_tracking_branch: str | None = None
    run_command: str | None = None
    tag: str | None = None
    config_schema: dict[str, Any] | None = None
    metadata_schema: dict[str, Any] | None = None
    created_date: datetime | None = None
    modified_date: datetime | None = None


@attrs.frozen
class ConnectorStatus:
    """The state of a tenant's connection to one system; ``status`` is the vendor's word."""

    name: str
    status: str
    last_change: datetime | None = None


@attrs.frozen
class TenantAuthStatus:
    """Whether a tenant is connected to the systems of its integration."""

    connected: bool = False
    connectors: list[ConnectorStatus] = attrs.field(factory=list)


@attrs.frozen
class TenantStatus:
    """What a tenant did last. Of the three runs, ``{}`` means none; their form is the vendor's."""

    last_run: dict[str, Any] = attrs.field(factory=dict)
    current_run: dict[str, Any] = attrs.field(factory=dict)
    last_successful_run: dict[str, Any] = attrs.field(factory=dict)
    dynamic_configs: dict[str, Any] = attrs.field(factory=dict)
    auth: TenantAuthStatus = attrs.field(factory=TenantAuthStatus)


@attrs.frozen
class Tenant:
    """A tenant: one customer's installation of an integration, with its credentials."""

    id: int
    name: str
    archived: bool | None = None
    integration_id: int | None = None
    configs: dict[str, Any] = attrs.field(factory=dict)
    created_date: datetime | None = None
    modified_date: datetime | None = None
    paused: bool = True
    user_schedule: str | None = None
    schedule: str | None = None
    source: str = "api"
    integration_release_id: int | None = None
    integration_release_channel: ReleaseChannel | None = None
    status: TenantStatus | None = None


@attrs.frozen
class TenantMetadata:
    """What the runs of a tenant, and calls of the API, have stored for it."""

    tenant_id: int
    data: dict[str, Any] = attrs.field(factory=dict)
    created_date: datetime | None = None
    modified_date: datetime | None = None


@attrs.frozen
class Trigger:
    """The answer to a request for a sync: the id by which its run can be found, once it exists."""

    trigger_id: str


# The words that are known, folded. The vendor's own for failures all begin with "Failed"; the
# others are a third party's (completed) and Kubernetes' (succeeded). Whatever else comes is active.
_SUCCEEDED = frozenset({"succeeded", "completed"})
_FAILED = "failed"
_ACTIVE = frozenset({"pending", "running"})


@attrs.frozen
class TriggerStatus:
    """The state of the run of a trigger; ``status`` is the vendor's word, as it came."""

    status: str

    @property
    def outcome(self) -> Outcome:
        """Read the word; one that nobody knows is ``ACTIVE``."""
        word = self.status.strip().casefold()
        if word in _SUCCEEDED:
            return Outcome.SUCCEEDED
        if word.partition(" ")[0] == _FAILED:
            return Outcome.FAILED
        return Outcome.ACTIVE

    @property
    def is_known(self) -> bool:
        """Tell whether the word is among those whose meaning is known."""
        return self.outcome is not Outcome.ACTIVE or self.status.strip().casefold() in _ACTIVE


@attrs.frozen
class RunStatus:
    """
    The state of a run. The two times are the vendor's strings, as their form is undocumented.

    ``start_time`` and ``completion_time`` are ``startTime`` and ``completionTime`` in the API.
    """

    phase: str | None = None
    start_time: str | None = None
    completion_time: str | None = None


@attrs.frozen
class RunTrigger:
    """What made a run begin. Compare ``str(id)`` with a ``Trigger``'s ``trigger_id``."""

    id: int
    created_date: datetime
    mode: RunMode
    source: str
    payload: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Run:
    """A run: one execution of an integration's code for one tenant."""

    id: int
    mode: RunMode
    status: RunStatus | None = None
    triggers: list[RunTrigger] = attrs.field(factory=list)
    started_date: datetime | None = None
    completed_date: datetime | None = None
    tenant_id: int | None = None
    integration_id: int | None = None
