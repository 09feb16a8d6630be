"""
The shapes of the API's OpenAPI document.

Bodies of requests are read with them; answers are only described by them, since checking each
record of a page would cost more than all the rest.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

Object = dict[str, Any]


class V2RunMode(StrEnum):
    """How a run is meant to go."""

    init = "init"
    normal = "normal"


class IntegrationType(StrEnum):
    """Who offers an integration."""

    Internal = "Internal"
    External = "External"
    Pandium = "Pandium"


class IntegrationReleaseChannel(StrEnum):
    """A release that moves."""

    Latest = "Latest"
    Default = "Default"


class ErrorMessage(BaseModel):
    """The service's own errors."""

    message: str


class ValidationError(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str
    input: Any = None
    ctx: Annotated[Object, WithJsonSchema({"type": "object"})] = Field(default_factory=dict)


class HTTPValidationError(BaseModel):
    """All that is wrong with a request."""

    detail: list[ValidationError] = Field(default_factory=list)


class Connector(BaseModel):
    """A system that an integration connects to."""

    name: str
    isGlobal: bool  # noqa: N815 - the API's own name


class Category(BaseModel):
    """A category of a marketplace."""

    name: str
    id: int
    description: str | None = None
    order_index: float


class Tag(BaseModel):
    """A tag of a marketplace."""

    name: str
    id: int
    description: str | None = None


class Flag(BaseModel):
    """A flag of a marketplace."""

    name: str
    id: int
    flag_color: str | None = None


class Integration(BaseModel):
    """An application."""

    id: int
    created_date: datetime | None = None
    modified_date: datetime | None = None
    name: str
    long_name: str
    connectors: list[Connector] | None = None
    repository_path: str | None = None
    repository_tracking_branch: str | None = None
    repository_url: str | None = None
    type: IntegrationType
    categories: list[Category] | None = []
    tags: list[Tag] | None = []
    flag: Flag | None = None
    default_release_id: int | None = None
    default_release_channel: IntegrationReleaseChannel | None = None


class IntegrationRelease(BaseModel):
    """A version of an integration."""

    id: int
    name: str
    repository_tracking_branch: str | None = None
    run_command: str | None = None
    tag: str | None = None
    config_schema: Object | None = None
    config_version: str
    metadata_schema: Object | None = None
    created_date: datetime | None = None
    modified_date: datetime | None = None


class Trigger(BaseModel):
    """What a sync is answered with."""

    trigger_id: str


class TriggerStatus(BaseModel):
    """The state of a trigger's run."""

    status: str


class ConnectorStatus(BaseModel):
    """Where a tenant stands with one connector."""

    name: str
    status: str
    last_change: datetime | None = None


class TenantAuthStatus(BaseModel):
    """Where a tenant stands with all connectors."""

    connected: bool = False
    connectors: list[ConnectorStatus] | None = []


class TenantStatus(BaseModel):
    """The state of a tenant."""

    last_run: Object | None = {}
    current_run: Object | None = {}
    last_successful_run: Object | None = {}
    dynamic_configs: Object | None = {}
    auth: TenantAuthStatus | None = Field(None, json_schema_extra={"default": {}})


class Tenant(BaseModel):
    """An installation of an integration."""

    id: int
    name: str
    archived: bool | None = None
    integration_id: int = Field(default_factory=int)
    configs: Object | None = {}
    created_date: datetime | None = None
    modified_date: datetime | None = None
    paused: bool | None = True
    user_schedule: str | None = None
    schedule: str | None = None
    source: str | None = "api"
    integration_release_id: int | None = None
    integration_release_channel: IntegrationReleaseChannel | None = None
    status: TenantStatus | None = None


class CreateTenant(BaseModel):
    """What a tenant is made of."""

    name: str
    integration_id: int
    user_schedule: str | None = None
    integration_release_id: int | None = None
    integration_release_channel: str | None = None
    configs: Object = Field(default_factory=dict)


class PatchTenant(BaseModel):
    """What can be changed in a tenant: the reference names the operation without a shape."""

    name: str = Field(default_factory=str)
    configs: Object = Field(default_factory=dict)
    paused: bool = Field(default_factory=bool)
    archived: bool = Field(default_factory=bool)
    user_schedule: str | None = None
    integration_release_id: int | None = None
    integration_release_channel: str | None = None


class TenantMetadata(BaseModel):
    """The metadata of a tenant."""

    tenant_id: int
    data: Object | None = {}
    created_date: datetime | None = None
    modified_date: datetime | None = None


class ProxyRestRequestBody(BaseModel):
    """A call to a REST system."""

    headers: Object | list[Any] | None = None
    method: str = Field(default_factory=str)
    query_params: Object | None = None
    target_url: str = Field(default_factory=str)
    body: Object | None = None


class ProxyXmlRequestBody(BaseModel):
    """A call to a SOAP or XML system."""

    headers: Object | list[Any] | None = None
    method: str = Field(default_factory=str)
    query_params: Object | None = None
    target_url: str = Field(default_factory=str)
    data: str | None = None


class ProxyResponse(BaseModel):
    """What the other system answered."""

    data: Object


class ProxyInternalError(BaseModel):
    """Why the proxy did not call."""

    detail: str = Field(default_factory=str)


class ProxyExternalError(BaseModel):
    """The other system's failure, as text."""

    detail: str = Field(default_factory=str)


class RunStatus(BaseModel):
    """The phase of a run."""

    phase: str | None = None
    startTime: str | None = None  # noqa: N815 - the API's own name
    completionTime: str | None = None  # noqa: N815 - the API's own name


class RunTrigger(BaseModel):
    """One of the triggers of a run."""

    id: int
    created_date: datetime
    mode: str
    source: str
    payload: Object | None = {}


class Run(BaseModel):
    """A run."""

    id: int
    mode: str
    status: RunStatus | None = None
    triggers: list[RunTrigger] | None = []
    started_date: datetime | None = None
    completed_date: datetime | None = None
    tenant_id: int | None = None
    integration_id: int | None = None
