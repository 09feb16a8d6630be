"""
The records that the API returns, as frozen values without any I/O.

Field names are snake_case. A field that is absent or null has the default that the vendor
documents, or ``None``. Date-times are timezone-aware: without an offset in the response they are
in UTC. Fields that a model does not have are ignored. ``listing.raw()`` and ``client.request``
return every field.

The vendor documents the type of each field, but rarely its meaning. Descriptions here go by the
field's name where there is nothing else, and say "undocumented" where the name is not enough.
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
    # The member is not registered with its class, because a server may send any number of values.
    # It compares, hashes and pickles like its value.
    if not isinstance(value, str):
        return None
    member = str.__new__(cls, value)
    member._name_ = value.upper()
    member._value_ = value
    return member


class RunMode(StrEnum):
    """
    How a run reads its data. Unknown values are kept.

    A sync accepts these two modes only; a run may have another.

    :cvar INIT: ``init``, by its name an initial load.
    :cvar NORMAL: ``normal``, a regular run.
    """

    INIT = "init"
    NORMAL = "normal"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _create_unknown_member(cls, value)


class IntegrationType(StrEnum):
    """
    The audience of an integration. Unknown values are kept.

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
    The release that a tenant follows. Unknown values are kept.

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
    The meaning of a run's status.

    :cvar ACTIVE: the run has not ended, or the status is unknown.
    :cvar SUCCEEDED: the run ended successfully.
    :cvar FAILED: the run ended with a failure.
    """

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@attrs.frozen
class Connector:
    """
    A connector of an integration: another system that the integration works with.

    :ivar name: the connector's name, as in ``connectors.call(tenant_id, name, …)``.
    :ivar is_global: ``isGlobal`` in the API. Its meaning is undocumented.
    """

    name: str
    is_global: bool


@attrs.frozen
class Category:
    """
    A category of an integration in the marketplace.

    :ivar name: the display name.
    :ivar id: the category's id.
    :ivar order_index: the sort position among categories. May be a fraction.
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
    :ivar flag_color: the color, or ``None``. Its format is undocumented.
    """

    name: str
    id: int
    flag_color: str | None = None


@attrs.frozen
class Integration:
    """
    An integration: an application on the platform, which tenants install.

    API reference:
    [Get One Integration](https://docs.pandium.com/reference/pandium-api#get-one-integration)

    :ivar id: the integration's id, as in ``tenants.list(integration_id=…)``.
    :ivar name: the short name.
    :ivar long_name: the full name.
    :ivar type: the audience.
    :ivar created_date: when the integration was created.
    :ivar modified_date: when the integration was last modified.
    :ivar connectors: the connected systems, or ``None`` if the API does not list them.
    :ivar repository_path: the location of the source code. Its format is undocumented.
    :ivar repository_tracking_branch: the branch that releases are built from.
    :ivar repository_url: the URL of the repository.
    :ivar categories: the marketplace categories, ``[]`` by default.
    :ivar tags: the tags, ``[]`` by default.
    :ivar flag: the flag, or ``None``.
    :ivar default_release_id: the id of the release for tenants that do not choose one.
    :ivar default_release_channel: the channel for tenants that do not choose one.
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
    A release of an integration: one version of its code and its schemas.

    API reference:
    [Get One Integration Release](https://docs.pandium.com/reference/pandium-api#get-one-integration-release)

    :ivar id: the release's id, as in ``releases.get(integration_id, release_id)``.
    :ivar name: the release's name.
    :ivar config_version: the version of the configuration. Its format is undocumented.
    :ivar repository_tracking_branch: the branch that the release was built from.
    :ivar run_command: the command that a run executes.
    :ivar tag: the tag of the release's build.
    :ivar config_schema: the JSON schema that the API validates a tenant's ``configs`` against.
    :ivar metadata_schema: the JSON schema that the API validates a tenant's metadata against.
    :ivar created_date: when the release was created.
    :ivar modified_date: when the release was last modified.
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
    The state of a tenant's connection to one system.

    :ivar name: the connector's name, as in ``connectors.call(tenant_id, name, …)``.
    :ivar status: the vendor's status text. There is no published list of values.
    :ivar last_change: when the status last changed.
    """

    name: str
    status: str
    last_change: datetime | None = None


@attrs.frozen
class TenantAuthStatus:
    """
    The state of a tenant's connections to the systems of its integration.

    :ivar connected: whether the tenant is connected, ``False`` by default. Whether this means every
        system is undocumented.
    :ivar connectors: the state of each connection, ``[]`` by default.
    """

    connected: bool = False
    connectors: list[ConnectorStatus] = attrs.field(factory=list)


@attrs.frozen
class TenantStatus:
    """
    A tenant's latest runs and its connections.

    The runs are dictionaries with the API's own field names, and dates as text. A missing run is
    ``{}``. Their fields are undocumented, so read them with ``.get()``.

    :ivar last_run: the latest run.
    :ivar current_run: the run that is in progress.
    :ivar last_successful_run: the latest run that succeeded.
    :ivar dynamic_configs: a dictionary. Its meaning is undocumented.
    :ivar auth: the tenant's connections. Null or ``{}`` in the API means none.
    """

    last_run: dict[str, Any] = attrs.field(factory=dict)
    current_run: dict[str, Any] = attrs.field(factory=dict)
    last_successful_run: dict[str, Any] = attrs.field(factory=dict)
    dynamic_configs: dict[str, Any] = attrs.field(factory=dict)
    auth: TenantAuthStatus = attrs.field(factory=TenantAuthStatus)


@attrs.frozen
class Tenant:
    """
    A tenant: one customer's installation of an integration, with its own credentials.

    API reference:
    [Get Many Tenants](https://docs.pandium.com/reference/pandium-api#get-many-tenants)

    :ivar id: the tenant's id, as in ``tenants.sync(tenant_id, mode=…)``.
    :ivar name: the name: lower-case letters and digits, with hyphens between them.
    :ivar archived: whether the tenant is archived, or ``None`` if the API does not say.
    :ivar integration_id: the id of the installed integration.
    :ivar configs: the tenant's settings, which match the release's ``config_schema``.
    :ivar created_date: when the tenant was created.
    :ivar modified_date: when the tenant was last modified.
    :ivar paused: whether the tenant is paused, ``True`` by default. A tenant that is created
        through the API starts paused. What a pause prevents is undocumented.
    :ivar user_schedule: the tenant's own schedule as a cron expression, or ``None``. The time zone
        is undocumented.
    :ivar schedule: a cron expression, by its name the schedule in effect: the tenant's own or
        the integration's. Undocumented.
    :ivar source: how the tenant was created, such as ``api``, which is the default.
    :ivar integration_release_id: the id of the tenant's release, if it was chosen by id.
    :ivar integration_release_channel: the channel of the tenant's release, if it was chosen by
        channel.
    :ivar status: the latest runs and the connections, or ``None`` if the API does not say.
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
    :ivar data: the stored data, which matches the release's ``metadata_schema``.
    :ivar created_date: when data was first stored.
    :ivar modified_date: when the data was last modified.
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

    :ivar trigger_id: the id that ``runs.status`` and ``runs.wait`` take.
    """

    trigger_id: str


# In lower case. The vendor's failures all start with "Failed". "completed" comes from a third
# party's client, and "succeeded" from Kubernetes, whose terms a run's status uses.
_SUCCEEDED = frozenset({"succeeded", "completed"})
_FAILED = "failed"
_ACTIVE = frozenset({"pending", "running"})


@attrs.frozen
class TriggerStatus:
    """
    The status of the run that a trigger started.

    API reference:
    [Get Run Status From Trigger](https://docs.pandium.com/reference/pandium-api#get-run-status-from-trigger)

    :ivar status: the vendor's status text, such as ``Failed (Timeout)``. There is no published list
        of values.
    """

    status: str

    @property
    def outcome(self) -> Outcome:
        """The meaning of the status. An unknown status is ``Outcome.ACTIVE``."""
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
    The state of a run. The format of its fields is undocumented, so they are plain text.

    :ivar phase: the vendor's status text, such as ``Succeeded``, or ``None``.
    :ivar start_time: when the run started, or ``None``. ``startTime`` in the API.
    :ivar completion_time: when the run ended, or ``None``. ``completionTime`` in the API.
    """

    phase: str | None = None
    start_time: str | None = None
    completion_time: str | None = None


@attrs.frozen
class RunTrigger:
    """
    A request or event that started a run.

    :ivar id: the trigger's id. ``str(id)`` equals the ``trigger_id`` of a ``Trigger``.
    :ivar created_date: when the trigger was created.
    :ivar mode: the requested run mode.
    :ivar source: the origin, such as ``webhook``, ``Cron`` or ``Manual``. There is no published
        list of values.
    :ivar payload: the payload of the sync request, ``{}`` by default.
    """

    id: int
    created_date: datetime
    mode: RunMode
    source: str
    payload: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Run:
    """
    A run: one execution of an integration's code for one tenant.

    API reference:
    [Pandium API](https://docs.pandium.com/reference/pandium-api)

    :ivar id: the run's id, as in ``runs.log(run_id)``.
    :ivar mode: the run mode.
    :ivar status: the state of the run, or ``None`` if the API does not say.
    :ivar triggers: what started the run. Triggers that arrive during a run are bundled into the
        next one.
    :ivar started_date: when the run started, or ``None``.
    :ivar completed_date: when the run ended, or ``None``.
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
