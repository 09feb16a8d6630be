"""
The schemas of the API's OpenAPI document.

They validate request bodies. Responses are not validated, because this would take more time than
everything else.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from pandium.emulator.api.views import shown_fields
from pandium.emulator.state.record_base import Record
from pandium.emulator.state.record_models import Integration, Release, Run, RunTrigger, Tenant

Object = dict[str, Any]


class V2RunMode(StrEnum):
    """The mode of a run."""

    init = "init"
    normal = "normal"


# The JSON Schema keywords in the vendor's document, which omits the constraints of seeds.
STATED = frozenset({"type", "format", "$ref", "items", "enum", "additionalProperties"})
NULL = {"type": "null"}


def _as_response(*required: str, optional: str = "", **defaults: Any) -> ConfigDict:
    """
    Return a configuration that describes a record like a response in the vendor's document.

    :param required: the fields that are always present. All others may be null or missing.
    :param optional: a field that may be missing, but not null.
    :param defaults: the documented values of missing fields.
    """

    def describe(schema: dict[str, Any], model: type[Record]) -> None:
        fields = {name: schema["properties"][name] for name in shown_fields(model)}
        schema["properties"] = {
            name: _describe_field(field, is_nullable=name not in (*required, optional))
            for name, field in fields.items()
        }
        for name, value in defaults.items():
            schema["properties"][name]["default"] = value
        schema["required"] = list(required)

    return ConfigDict(json_schema_extra=describe)


def _describe_field(field: dict[str, Any], *, is_nullable: bool) -> dict[str, Any]:
    kinds = [
        {name: value for name, value in kind.items() if name in STATED}
        for kind in field.get("anyOf", [field])
    ]
    if is_nullable and NULL not in kinds:
        kinds.append(NULL)
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


class ErrorMessage(BaseModel):
    """The API's own error format."""

    message: str


class ValidationError(BaseModel):
    """A problem with a request."""

    loc: list[str | int]
    msg: str
    type: str
    input: Any = None
    ctx: Annotated[Object, WithJsonSchema({"type": "object"})] = Field(default_factory=dict)


class HTTPValidationError(BaseModel):
    """All problems with a request."""

    detail: list[ValidationError] = Field(default_factory=list)


class ConnectorView(BaseModel):
    """A system that an integration connects to."""

    name: str
    isGlobal: bool  # noqa: N815 - the API's own name


class IntegrationView(Integration):
    """An application."""

    model_config: ClassVar[ConfigDict] = _as_response(
        "id", "name", "long_name", "type", categories=[], tags=[]
    )

    connectors: list[ConnectorView] | None = None  # type: ignore[assignment]  # the API's shape
    default_release_id: int | None = None


class ReleaseView(Release):
    """A version of an integration."""

    model_config: ClassVar[ConfigDict] = _as_response("id", "name", "config_version")


class Trigger(BaseModel):
    """The response to a sync."""

    trigger_id: str


class TriggerStatus(BaseModel):
    """The state of a trigger's run."""

    status: str


class ConnectorStatus(BaseModel):
    """The connection of a tenant to one connector."""

    name: str
    status: str
    last_change: datetime | None = None


class TenantAuthStatus(BaseModel):
    """The connections of a tenant."""

    connected: bool = False
    connectors: list[ConnectorStatus] | None = []


class TenantStatus(BaseModel):
    """The state of a tenant."""

    last_run: Object | None = {}
    current_run: Object | None = {}
    last_successful_run: Object | None = {}
    dynamic_configs: Object | None = {}
    auth: TenantAuthStatus | None = Field(None, json_schema_extra={"default": {}})


class TenantView(Tenant):
    """An installation of an integration."""

    model_config: ClassVar[ConfigDict] = _as_response(
        "id", "name", optional="integration_id", configs={}, paused=True, source="api"
    )

    schedule: str | None = None
    status: TenantStatus | None = None


class CreateTenant(BaseModel):
    """The fields of a new tenant."""

    name: str
    integration_id: int
    user_schedule: str | None = None
    integration_release_id: int | None = None
    integration_release_channel: str | None = None
    configs: Object = Field(default_factory=dict)


class PatchTenant(BaseModel):
    """The fields of a tenant that can be updated. The reference does not document them."""

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
    """The response of the upstream system."""

    data: Object


class ProxyInternalError(BaseModel):
    """The reason why the proxy did not send the call."""

    detail: str = Field(default_factory=str)


class ProxyExternalError(BaseModel):
    """The error response of the upstream system, as a string."""

    detail: str = Field(default_factory=str)


class RunStatus(BaseModel):
    """The phase of a run."""

    phase: str | None = None
    startTime: str | None = None  # noqa: N815 - the API's own name
    completionTime: str | None = None  # noqa: N815 - the API's own name


class RunTriggerView(RunTrigger):
    """One of the triggers of a run."""

    model_config: ClassVar[ConfigDict] = _as_response(
        "id", "created_date", "mode", "source", payload={}
    )


class RunView(Run):
    """A run."""

    model_config: ClassVar[ConfigDict] = _as_response("id", "mode", triggers=[])

    status: RunStatus | None = None
    triggers: list[RunTriggerView] | None = None  # type: ignore[assignment]  # the API's shape
