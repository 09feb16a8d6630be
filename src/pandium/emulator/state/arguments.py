"""What adds a record by hand takes: the form of seeds, of control calls and of the methods."""

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from pandium.emulator.runs.runs import DEFAULT_PHASES, KILLED_AFTER
from pandium.emulator.runs.scripts import Phase, Polls, Span


def with_offset(date: datetime) -> datetime:
    """Take a date without an offset for one in UTC."""
    return date if date.tzinfo else date.replace(tzinfo=UTC)


Moment = Annotated[datetime, Field(strict=False), AfterValidator(with_offset)]
Id = Annotated[int, Field(ge=1)]


def parse_span(given: object) -> Span:
    """Read how long something lasts: seconds, looks, or null for ever."""
    if given is None:
        return math.inf
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return given
    if isinstance(given, Mapping) and list(given) == ["polls"]:
        with suppress(ValueError):
            return Polls(given["polls"])
    raise PydanticCustomError(
        "span", "must be seconds, zero or more, or {polls}, or null for ever", {"polls": POLLS}
    )


POLLS = '{"polls": 3}'
SPAN = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {
            "type": "object",
            "properties": {"polls": {"type": "integer", "minimum": 0}},
            "required": ["polls"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}
SpanForm = Annotated[Any, PlainValidator(parse_span), WithJsonSchema(SPAN)]
PhaseName = Annotated[str, Field(min_length=1)]
PhaseForm = Annotated[tuple[PhaseName | None, SpanForm], Field(strict=False)]


def validate_phases(phases: list[Phase]) -> list[Phase]:
    """Refuse phases that begin with none."""
    if phases[0][0] is None:
        raise PydanticCustomError("word", "must begin with a word; before it is appears_after")
    return phases


PhasesForm = Annotated[list[PhaseForm], Field(min_length=1), AfterValidator(validate_phases)]


class Arguments(BaseModel):
    """Arguments of the right types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ConnectorArguments(Arguments):
    """A connector that is more than its name."""

    name: str = Field(min_length=1)
    is_global: bool = False


class IntegrationArguments(Arguments):
    """What makes an integration."""

    id: Id | None = None
    name: str | None = None
    long_name: str | None = None
    connectors: tuple[str | ConnectorArguments, ...] = Field(("crm", "shop"), strict=False)
    type: Literal["Internal", "External", "Pandium"] = "External"
    archived: bool = False
    paused: bool = False
    releases: int = Field(1, ge=0)
    config_schema: dict[str, Any] | None = None
    metadata_schema: dict[str, Any] | None = None
    schedule: str | None = None
    default_release_channel: Literal["Latest", "Default"] | None = None
    created_date: Moment | None = None


class ReleaseArguments(Arguments):
    """What makes a release."""

    id: Id | None = None
    integration_id: int
    name: str | None = None
    tag: str | None = None
    config_version: str = "1"
    config_schema: dict[str, Any] | None = None
    metadata_schema: dict[str, Any] | None = None
    default: bool = False
    created_date: Moment | None = None


class TenantArguments(Arguments):
    """What makes a tenant."""

    id: Id | None = None
    name: str | None = None
    integration_id: int = 1
    user_name: str | None = None
    paused: bool = False
    archived: bool = False
    configs: dict[str, Any] | None = None
    connected: bool | list[str] = True
    user_schedule: str | None = None
    release_id: int | None = None
    release_channel: Literal["Latest", "Default"] | None = None
    metadata: dict[str, Any] | None = None
    source: str = "api"
    created_date: Moment | None = None


class ScriptArguments(Arguments):
    """How runs go: those of one tenant, of one integration, or all others; null is for ever."""

    tenant: Id | None = None
    integration: Id | None = None
    appears_after: SpanForm = 0.1
    phases: PhasesForm = list(DEFAULT_PHASES)
    killed_after: float | None = Field(KILLED_AFTER, ge=0)

    @field_validator("integration")
    @classmethod
    def _is_the_only_subject(cls, integration: int | None, given: ValidationInfo) -> int | None:
        if integration is not None and given.data.get("tenant") is not None:
            raise PydanticCustomError("subject", "give a tenant or an integration, not both")
        return integration


class UpstreamArguments(Arguments):
    """What the system behind a connector answers, or the system on one host of it."""

    connector: str = Field(min_length=1)
    host: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+$")
    status: int = Field(200, ge=200, le=599)
    data: Any = None
