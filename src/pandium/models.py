"""
Hold what the API answers: frozen values that know nothing of the client.

Field names are snake_case. An optional field that is absent or null has the vendor's documented
default, or ``None``. Date-times are aware: with the offset that came, or in UTC where none came.
Fields that the API adds later are ignored.

The vendor documents the types of fields, and the meaning of few. What is said of the others is how
their names read; "undocumented" stands where that leaves a question open.
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
    """
    How a run reads its data. The API takes these two; runs may show others, which are kept.

    :cvar INIT: ``init``.
    :cvar NORMAL: ``normal``.
    """

    INIT = "init"
    NORMAL = "normal"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _keep_unknown(cls, value)


class IntegrationType(StrEnum):
    """
    Who an integration is for. Values that are not listed here are kept.

    :cvar INTERNAL: ``Internal``.
    :cvar EXTERNAL: ``External``.
    :cvar PANDIUM: ``Pandium``.
    """

    INTERNAL = "Internal"
    EXTERNAL = "External"
    PANDIUM = "Pandium"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _keep_unknown(cls, value)


class ReleaseChannel(StrEnum):
    """
    Which release a tenant follows. Values that are not listed here are kept.

    :cvar LATEST: ``Latest``: the integration's newest release.
    :cvar DEFAULT: ``Default``: the integration's default release.
    """

    LATEST = "Latest"
    DEFAULT = "Default"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return _keep_unknown(cls, value)


class Outcome(Enum):
    """
    What a status word means for somebody who waits.

    :cvar ACTIVE: the run has not ended, or nobody knows the word.
    :cvar SUCCEEDED: it ended well.
    :cvar FAILED: it ended, and not well.
    """

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@attrs.frozen
class Connector:
    """
    A connector of an integration: another system that its runs work with.

    :ivar name: what ``connectors.call`` takes, such as ``crm``.
    :ivar is_global: ``isGlobal`` in the API; its meaning is undocumented.
    """

    name: str
    is_global: bool


@attrs.frozen
class Category:
    """
    A category of an integration in the marketplace.

    :ivar name: shown to people.
    :ivar id: a number.
    :ivar order_index: its place among others; may be a fraction.
    :ivar description: text, or ``None``.
    """

    name: str
    id: int
    order_index: float
    description: str | None = None


@attrs.frozen
class Tag:
    """
    A tag of an integration.

    :ivar name: shown to people.
    :ivar id: a number.
    :ivar description: text, or ``None``.
    """

    name: str
    id: int
    description: str | None = None


@attrs.frozen
class Flag:
    """
    A flag of an integration.

    :ivar name: shown to people.
    :ivar id: a number.
    :ivar flag_color: text; its form is undocumented.
    """

    name: str
    id: int
    flag_color: str | None = None


@attrs.frozen
class Integration:
    """
    An integration: the primary record of an application on the platform.

    :ivar id: what ``tenants.list(integration_id=…)`` takes.
    :ivar name: its short name.
    :ivar long_name: its name in full.
    :ivar type: who it is for.
    :ivar created_date: when it was made.
    :ivar modified_date: when it was last changed.
    :ivar connectors: the systems that it connects; ``None`` if the API does not say.
    :ivar repository_path: where its code is; the form is undocumented.
    :ivar repository_tracking_branch: the branch that it is built from.
    :ivar repository_url: the repository's URL.
    :ivar categories: those of the marketplace.
    :ivar tags: any number of them.
    :ivar flag: one, or ``None``.
    :ivar default_release_id: the release of tenants that choose none.
    :ivar default_release_channel: the channel of tenants that choose none.
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
    A release of an integration: one version of its code and of its schemas.

    :ivar id: what ``releases.get`` takes beside the id of the integration.
    :ivar name: its name.
    :ivar config_version: text; its form is undocumented.
    :ivar repository_tracking_branch: the branch that it was built from.
    :ivar run_command: the command that a run executes.
    :ivar tag: the tag of its build.
    :ivar config_schema: what the API checks a tenant's ``configs`` against.
    :ivar metadata_schema: what the API checks a tenant's metadata against.
    :ivar created_date: when it was made.
    :ivar modified_date: when it was last changed.
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

    :ivar name: the connector's, as ``connectors.call`` takes it.
    :ivar status: the vendor's word; there is no published list.
    :ivar last_change: when it last changed.
    """

    name: str
    status: str
    last_change: datetime | None = None


@attrs.frozen
class TenantAuthStatus:
    """
    Whether a tenant is connected to the systems of its integration.

    :ivar connected: whether it is; whether that means all systems is undocumented.
    :ivar connectors: one entry for each system.
    """

    connected: bool = False
    connectors: list[ConnectorStatus] = attrs.field(factory=list)


@attrs.frozen
class TenantStatus:
    """
    What a tenant did last, and whether it is connected.

    The three runs are objects as they came, with the API's names, and dates as text. ``{}`` means
    none. Their form is undocumented: look for a name with ``.get``.

    :ivar last_run: the latest run.
    :ivar current_run: the run that is going on.
    :ivar last_successful_run: the last run that ended well.
    :ivar dynamic_configs: an object; its meaning is undocumented.
    :ivar auth: its connections; null or ``{}`` in the API is none.
    """

    last_run: dict[str, Any] = attrs.field(factory=dict)
    current_run: dict[str, Any] = attrs.field(factory=dict)
    last_successful_run: dict[str, Any] = attrs.field(factory=dict)
    dynamic_configs: dict[str, Any] = attrs.field(factory=dict)
    auth: TenantAuthStatus = attrs.field(factory=TenantAuthStatus)


@attrs.frozen
class Tenant:
    """
    A tenant: one customer's installation of an integration, with its credentials.

    :ivar id: what ``tenants.sync`` and the others take.
    :ivar name: lower-case letters and digits, with hyphens between them.
    :ivar archived: whether it was archived; ``None`` if the API does not say.
    :ivar integration_id: the integration that it installs.
    :ivar configs: its settings, an object that fits its release's ``config_schema``.
    :ivar created_date: when it was made.
    :ivar modified_date: when it was last changed.
    :ivar paused: whether it is; also true if the API does not say. A tenant made by the API begins
        so. What a pause holds back is undocumented.
    :ivar user_schedule: a cron string of its own, or ``None``. The time zone is undocumented.
    :ivar schedule: a cron string; undocumented, but by its name the one in effect: its own, or its
        integration's.
    :ivar source: how it was made, as text, such as ``api``.
    :ivar integration_release_id: the release that it runs, if it was chosen by id.
    :ivar integration_release_channel: the channel whose release it runs, if it was chosen so.
    :ivar status: what it did last; ``None`` if the API does not say.
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
    What the runs of a tenant, and calls of the API, have stored for it.

    :ivar tenant_id: whose it is.
    :ivar data: an object of your own making that fits the release's ``metadata_schema``.
    :ivar created_date: when it was first stored.
    :ivar modified_date: when it was last changed.
    """

    tenant_id: int
    data: dict[str, Any] = attrs.field(factory=dict)
    created_date: datetime | None = None
    modified_date: datetime | None = None


@attrs.frozen
class Trigger:
    """
    The answer to a request for a sync.

    :ivar trigger_id: text by which ``runs.status`` and ``runs.wait`` find the run, once it exists.
    """

    trigger_id: str


# The words that are known, folded. The vendor's own for failures all begin with "Failed"; the
# others are a third party's (completed) and Kubernetes' (succeeded). Whatever else comes is active.
_SUCCEEDED = frozenset({"succeeded", "completed"})
_FAILED = "failed"
_ACTIVE = frozenset({"pending", "running"})


@attrs.frozen
class TriggerStatus:
    """
    The state of the run of a trigger.

    :ivar status: the vendor's word as it came, such as ``Failed (Timeout)``; there is no published
        list.
    """

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
    The state of a run. The form of all three is undocumented, so they are text, or ``None``.

    :ivar phase: the vendor's word, such as ``Succeeded``.
    :ivar start_time: when it began; ``startTime`` in the API.
    :ivar completion_time: when it ended; ``completionTime`` in the API.
    """

    phase: str | None = None
    start_time: str | None = None
    completion_time: str | None = None


@attrs.frozen
class RunTrigger:
    """
    What made a run begin.

    :ivar id: a number; compare ``str(id)`` with a ``Trigger``'s ``trigger_id``.
    :ivar created_date: when it was asked for.
    :ivar mode: how the run was to read its data.
    :ivar source: a word such as ``webhook``, ``Cron`` or ``Manual``; there is no published list.
    :ivar payload: what the request for a sync brought for the integration; ``{}`` if nothing.
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

    :ivar id: what ``runs.log`` takes.
    :ivar mode: how it reads its data.
    :ivar status: its state; ``None`` if the API does not say.
    :ivar triggers: what made it begin: several, where they came while another run was going.
    :ivar started_date: when it began, or ``None``.
    :ivar completed_date: when it ended, or ``None``.
    :ivar tenant_id: whose it is.
    :ivar integration_id: what it executes.
    """

    id: int
    mode: RunMode
    status: RunStatus | None = None
    triggers: list[RunTrigger] = attrs.field(factory=list)
    started_date: datetime | None = None
    completed_date: datetime | None = None
    tenant_id: int | None = None
    integration_id: int | None = None
