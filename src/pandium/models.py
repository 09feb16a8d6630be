"""
The records returned by the API, as immutable objects that perform no I/O.

Field names are in snake_case. A field that is missing or null in the response is set to the
default value documented by the vendor, or to ``None``. Datetimes are timezone-aware. If a datetime
in the response has no offset, it is interpreted as UTC. Fields that are not part of a model are
ignored. To get all fields, use ``raw()`` of a listing, or ``client.request``.

The vendor documents the type of each field, but rarely its meaning. Where the meaning is not
documented, the descriptions below are based on the name of the field, or say "undocumented" if the
name is unclear.
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


def _create_unknown_member(cls: type[E], value: object) -> E | None:
    # Do not register the member with its class, because a server may send any number of values.
    # The member compares, hashes and pickles like its value.
    if not isinstance(value, str):
        return None
    member = str.__new__(cls, value)
    member._name_ = value.upper()
    member._value_ = value
    return member


class RunMode(StrEnum):
    """
    The mode of a run. Unknown values are preserved.

    A sync accepts only these two modes. The API may return other modes for a run.

    :cvar INIT: ``init``, presumably an initial load.
    :cvar NORMAL: ``normal``, a regular run.
    """

    INIT = "init"
    NORMAL = "normal"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _create_unknown_member(cls, value)


class IntegrationType(StrEnum):
    """
    The audience of an integration. Unknown values are preserved.

    :cvar INTERNAL: ``Internal``.
    :cvar EXTERNAL: ``External``.
    :cvar PANDIUM: ``Pandium``.
    """

    INTERNAL = "Internal"
    EXTERNAL = "External"
    PANDIUM = "Pandium"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _create_unknown_member(cls, value)


class ReleaseChannel(StrEnum):
    """
    The release that a tenant follows. Unknown values are preserved.

    :cvar LATEST: ``Latest``, the newest release of the integration.
    :cvar DEFAULT: ``Default``, the default release of the integration.
    """

    LATEST = "Latest"
    DEFAULT = "Default"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _create_unknown_member(cls, value)


class Outcome(Enum):
    """
    The meaning of a run's status, or how a run ended.

    :cvar ACTIVE: the run has not ended, or its status is unknown.
    :cvar SUCCEEDED: the run succeeded.
    :cvar FAILED: the run failed.
    :cvar UNKNOWN: it is not known how the run ended, for example because the time limit was
        reached. Only ``RunResult.outcome`` has this value.
    """

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


@attrs.frozen
class Connector:
    """
    A connector, which connects an integration to another system.

    :ivar name: the connector's name, as used in ``connectors.call(tenant_id, name, …)``.
    :ivar is_global: the ``isGlobal`` field in the API. The meaning is undocumented.
    """

    name: str
    is_global: bool


@attrs.frozen
class Category:
    """
    A marketplace category.

    :ivar name: the display name.
    :ivar id: the category's id.
    :ivar order_index: the sort position of the category, which may be a fraction.
    :ivar description: the description, or ``None``.
    """

    name: str
    id: int
    order_index: float
    description: str | None = None


@attrs.frozen
class Tag:
    """
    A tag of an integration.

    :ivar name: the display name.
    :ivar id: the tag's id.
    :ivar description: the description, or ``None``.
    """

    name: str
    id: int
    description: str | None = None


@attrs.frozen
class Flag:
    """
    A flag of an integration.

    :ivar name: the display name.
    :ivar id: the flag's id.
    :ivar flag_color: the color, or ``None``. The format is undocumented.
    """

    name: str
    id: int
    flag_color: str | None = None


@attrs.frozen
class Integration:
    """
    An integration, which is an application that tenants install.

    API reference:
    [Get One Integration](https://docs.pandium.com/reference/pandium-api#get-one-integration)

    :ivar id: the integration's id, as used in ``tenants.list(integration_id=…)``.
    :ivar name: the short name.
    :ivar long_name: the full name.
    :ivar type: the audience.
    :ivar created_date: the time at which the integration was created.
    :ivar modified_date: the time at which the integration was last modified.
    :ivar connectors: the integration's connectors, or ``None`` if the API does not return them.
    :ivar repository_path: the location of the source code. The format is undocumented.
    :ivar repository_tracking_branch: the branch from which releases are built.
    :ivar repository_url: the URL of the repository.
    :ivar categories: the marketplace categories. Defaults to ``[]``.
    :ivar tags: the tags. Defaults to ``[]``.
    :ivar flag: the flag, or ``None``.
    :ivar default_release_id: the id of the release for tenants that have not selected one.
    :ivar default_release_channel: the channel for tenants that have not selected one.
    """

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
    """
    A release of an integration, which is a version of its code and schemas.

    API reference:
    [Get One Integration Release](https://docs.pandium.com/reference/pandium-api#get-one-integration-release)

    :ivar id: the release's id, as used in ``releases.get(integration_id, release_id)``.
    :ivar name: the release's name.
    :ivar config_version: the version of the configuration. The format is undocumented.
    :ivar repository_tracking_branch: the branch from which the release was built.
    :ivar run_command: the command that a run executes.
    :ivar tag: the build tag.
    :ivar config_schema: the JSON schema for the ``configs`` of a tenant.
    :ivar metadata_schema: the JSON schema for the metadata of a tenant.
    :ivar created_date: the time at which the release was created.
    :ivar modified_date: the time at which the release was last modified.
    """

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
    """
    The status of a tenant's connection to another system.

    :ivar name: the connector's name, as used in ``connectors.call(tenant_id, name, …)``.
    :ivar status: the status as text. The possible values are undocumented.
    :ivar last_change: the time at which the status last changed.
    """

    name: str
    status: str
    last_change: datetime | None = None


@attrs.frozen
class TenantAuthStatus:
    """
    The status of a tenant's connections to other systems.

    :ivar connected: whether the tenant is connected. Defaults to ``False``. It is undocumented
        whether this covers every system.
    :ivar connectors: the status of each connection. Defaults to ``[]``.
    """

    connected: bool = False
    connectors: list[ConnectorStatus] = attrs.field(factory=list)


@attrs.frozen
class TenantStatus:
    """
    A tenant's most recent runs and the status of its connections.

    Each run is a dictionary that uses the field names of the API and contains dates as text. If
    there is no such run, the dictionary is empty. The fields are undocumented, so read them with
    ``.get()``.

    :ivar last_run: the most recent run.
    :ivar current_run: the run in progress.
    :ivar last_successful_run: the most recent successful run.
    :ivar dynamic_configs: a dictionary. The meaning is undocumented.
    :ivar auth: the status of the tenant's connections. Null or ``{}`` in the API means that there
        are none.
    """

    last_run: dict[str, Any] = attrs.field(factory=dict)
    current_run: dict[str, Any] = attrs.field(factory=dict)
    last_successful_run: dict[str, Any] = attrs.field(factory=dict)
    dynamic_configs: dict[str, Any] = attrs.field(factory=dict)
    auth: TenantAuthStatus = attrs.field(factory=TenantAuthStatus)


@attrs.frozen
class Tenant:
    """
    A tenant, which is a customer's installation of an integration.

    API reference:
    [Get Many Tenants](https://docs.pandium.com/reference/pandium-api#get-many-tenants)

    :ivar id: the tenant's id, as used in ``tenants.sync(tenant_id, mode=…)``.
    :ivar name: the tenant's name, which consists of lower-case letters and digits, with hyphens
        only between them.
    :ivar archived: whether the tenant is archived, or ``None`` if the API does not specify it.
    :ivar integration_id: the id of the installed integration.
    :ivar configs: the tenant's settings, which conform to the ``config_schema`` of the release.
    :ivar created_date: the time at which the tenant was created.
    :ivar modified_date: the time at which the tenant was last modified.
    :ivar paused: whether the tenant is paused. Defaults to ``True``. Tenants created through the
        API are initially paused. The effect of a pause is undocumented.
    :ivar user_schedule: the tenant's schedule as a cron expression, or ``None``. The time zone is
        undocumented.
    :ivar schedule: a cron expression. The meaning is undocumented. Presumably, it is the schedule
        in effect, set by either the tenant or the integration.
    :ivar source: how the tenant was created. Defaults to ``api``.
    :ivar integration_release_id: the id of the tenant's release, if it was selected by id.
    :ivar integration_release_channel: the channel of the tenant's release, if it was selected by
        channel.
    :ivar status: the most recent runs and the status of the connections, or ``None`` if the API
        does not return them.
    """

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
    """
    The data that runs and API clients have stored for a tenant.

    API reference:
    [Get Metadata](https://docs.pandium.com/reference/pandium-api#get-metadata)

    :ivar tenant_id: the tenant's id.
    :ivar data: the stored data, which conforms to the ``metadata_schema`` of the release.
    :ivar created_date: the time at which data was first stored.
    :ivar modified_date: the time at which the data was last modified.
    """

    tenant_id: int
    data: dict[str, Any] = attrs.field(factory=dict)
    created_date: datetime | None = None
    modified_date: datetime | None = None


@attrs.frozen
class Trigger:
    """
    The response to a sync request.

    API reference:
    [Sync By Tenant Id](https://docs.pandium.com/reference/pandium-api#sync-by-tenant-id)

    :ivar trigger_id: the trigger's id, which can be passed to ``runs.status`` and ``runs.wait``.
    """

    trigger_id: str


# All values are in lower case. Every documented failure status starts with "Failed". A third-party
# client uses "completed". "succeeded" is a phase in Kubernetes, whose terms also appear in the
# status of a run.
_SUCCEEDED = frozenset({"succeeded", "completed"})
_FAILED = "failed"
_ACTIVE = frozenset({"pending", "running"})


@attrs.frozen
class TriggerStatus:
    """
    The status of the run that a trigger started.

    API reference:
    [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

    :ivar status: the status as text, such as ``Failed (Timeout)``. The possible values are
        undocumented.
    """

    status: str

    @property
    def outcome(self) -> Outcome:
        """The meaning of the status. Defaults to ``Outcome.ACTIVE`` if the status is unknown."""
        status = self._normalized()
        if status in _SUCCEEDED:
            return Outcome.SUCCEEDED
        if status.partition(" ")[0] == _FAILED:
            return Outcome.FAILED
        return Outcome.ACTIVE

    @property
    def is_known(self) -> bool:
        """Whether the meaning of the status is known."""
        return self.outcome is not Outcome.ACTIVE or self._normalized() in _ACTIVE

    def _normalized(self) -> str:
        return self.status.strip().casefold()


@attrs.frozen
class RunStatus:
    """
    The status of a run. The field formats are undocumented, so the values are plain text.

    :ivar phase: the phase, such as ``Succeeded``, or ``None``.
    :ivar start_time: the time at which the run started (``startTime`` in the API), or ``None``.
    :ivar completion_time: the time at which the run ended (``completionTime`` in the API), or
        ``None``.
    """

    phase: str | None = None
    start_time: str | None = None
    completion_time: str | None = None


@attrs.frozen
class RunTrigger:
    """
    A request or event that triggered a run.

    :ivar id: the trigger's id. ``str(id)`` is equal to the ``trigger_id`` of the ``Trigger``.
    :ivar created_date: the time at which the trigger was created.
    :ivar mode: the requested run mode.
    :ivar source: the origin, such as ``webhook``, ``Cron`` or ``Manual``. The possible values are
        undocumented.
    :ivar payload: the payload of the sync request. Defaults to ``{}``.
    """

    id: int
    created_date: datetime
    mode: RunMode
    source: str
    payload: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Run:
    """
    A run, which is an execution of an integration's code for a tenant.

    API reference:
    [Pandium API](https://docs.pandium.com/reference/pandium-api)

    :ivar id: the run's id, as used in ``runs.log(run_id)``.
    :ivar mode: the run mode.
    :ivar status: the status of the run, or ``None`` if the API does not return it.
    :ivar triggers: the triggers that started the run. Triggers that are created during a run are
        combined into the next one.
    :ivar started_date: the time at which the run started, or ``None``.
    :ivar completed_date: the time at which the run ended, or ``None``.
    :ivar tenant_id: the tenant's id, or ``None``.
    :ivar integration_id: the integration's id, or ``None``.
    """

    id: int
    mode: RunMode
    status: RunStatus | None = None
    triggers: list[RunTrigger] = attrs.field(factory=list)
    started_date: datetime | None = None
    completed_date: datetime | None = None
    tenant_id: int | None = None
    integration_id: int | None = None
