"""
The records of the emulated service: one model for each.

A record serves as the arguments of `Emulator.add_*`, as an entry of a seed, as an entry of a saved
state, and, without its hidden fields, as the API's response. To add a field, add a line here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    GetPydanticSchema,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from pandium.emulator.state.record_base import Cron, Hidden, Id, Moment, Object, Record
from pandium.emulator.state.scripts import Script
from pandium.emulator.state.tenant_rules import (
    Channel,
    Connected,
    ReleaseWithoutChannel,
    TenantName,
)

MAX_RELEASES = 10_000  # initial ones of an integration
SUCCESSES = frozenset({"succeeded", "success", "successful", "completed"})


def _undated() -> datetime:
    """Return a placeholder for the date that is set when a record is added."""
    return datetime.min.replace(tzinfo=UTC)


class Connector(Record):
    """A system that an integration connects to. In a seed, a string is its name."""

    name: str = Field(min_length=1)
    is_global: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data


def _describe_connector(schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    connector = handler(schema)
    if handler.mode == "serialization":
        return connector
    return {"anyOf": [{"type": "string", "minLength": 1}, connector]}


# A string is converted to a connector with that name.
ConnectorOrName = Annotated[
    str | Connector,
    GetPydanticSchema(lambda _, handler: handler.generate_schema(Connector), _describe_connector),
]


def _default_connectors() -> list[str | Connector]:
    return [Connector(name="crm"), Connector(name="shop")]


class Category(Record):
    """A category in the marketplace."""

    name: str
    id: int
    description: str | None = None
    order_index: float


class Tag(Record):
    """A tag in the marketplace."""

    name: str
    id: int
    description: str | None = None


class Flag(Record):
    """A flag in the marketplace."""

    name: str
    id: int
    flag_color: str | None = None


class Integration(Record):
    """
    An application that tenants install.

    `releases` is the number of its initial releases, and the schemas apply to these releases.
    """

    id: Id = Field(default_factory=int)
    created_date: Moment = Field(default_factory=_undated)
    modified_date: Moment = Field(default_factory=_undated)
    name: str = ""
    long_name: str = ""
    connectors: Sequence[ConnectorOrName] = Field(default_factory=_default_connectors)
    repository_path: str | None = None
    repository_tracking_branch: str | None = None
    repository_url: str | None = None
    type: Literal["Internal", "External", "Pandium"] = "External"
    categories: list[Category] = Field(default_factory=list)
    tags: list[Tag] = Field(default_factory=list)
    flag: Flag | None = None
    default_release_channel: Channel | None = None
    archived: Hidden[bool] = False
    paused: Hidden[bool] = False
    schedule: Hidden[Cron | None] = None
    releases: Hidden[int] = Field(default=1, ge=0, le=MAX_RELEASES)
    config_schema: Hidden[Object | None] = None
    metadata_schema: Hidden[Object | None] = None

    @property
    def systems(self) -> list[Connector]:
        """The connectors. Validation has converted all names to connectors."""
        return [one for one in self.connectors if isinstance(one, Connector)]


class Release(Record):
    """A version of an integration."""

    id: Id = Field(default_factory=int)
    name: str = ""
    repository_tracking_branch: str | None = None
    run_command: str | None = None
    tag: str | None = None
    config_schema: Object | None = None
    config_version: str = "1"
    metadata_schema: Object | None = None
    created_date: Moment = Field(default_factory=_undated)
    modified_date: Moment = Field(default_factory=_undated)
    integration_id: Hidden[Id] = 1
    default: Hidden[bool] = False


class Tenant(Record):
    """
    An installation of an integration.

    `connected` is True for all connectors, False for none, or a list of connector names. A
    connector is in `connection_dates` once its connection has changed.
    """

    id: Id = Field(default_factory=int)
    name: TenantName = Field(default_factory=str)
    archived: bool = False
    integration_id: Id = 1
    configs: Object = Field(default_factory=dict)
    created_date: Moment = Field(default_factory=_undated)
    modified_date: Moment = Field(default_factory=_undated)
    paused: bool = False
    user_schedule: Cron | None = None
    source: str = "api"
    integration_release_channel: Channel | None = None
    integration_release_id: ReleaseWithoutChannel = None
    user_name: Hidden[str | None] = None
    connected: Hidden[Connected] = True
    connection_dates: Hidden[dict[str, Moment]] = Field(default_factory=dict)
    dynamic_configs: Hidden[Object] = Field(default_factory=dict)
    metadata: Hidden[Object] = Field(default_factory=dict)
    metadata_created_date: Hidden[Moment | None] = None
    metadata_modified_date: Hidden[Moment | None] = None

    def is_connected(self, connector: str) -> bool:
        """Return whether a connector of the integration is connected."""
        return self.connected if isinstance(self.connected, bool) else connector in self.connected

    def connection_date(self, connector: str) -> datetime | None:
        """Return the date on which a connection last changed, or None if it never has."""
        first = self.created_date if self.is_connected(connector) else None
        return self.connection_dates.get(connector, first)


class RunTrigger(Record):
    """A trigger of a run."""

    id: int
    created_date: Moment
    mode: str
    source: str
    payload: Object = Field(default_factory=dict)


class PhaseChange(Record):
    """A phase of a run, and the date at which it began."""

    date: Moment
    phase: str = Field(min_length=1)


class Run(Record):
    """
    A run and its progress.

    `step` is the number of phases of the script that have begun. The current one lasts `until` a
    date, or for a number of `polls`. `phase` is the status of the triggers, or None for 404.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=False)

    id: Id
    mode: str
    triggers: list[RunTrigger] = Field(min_length=1)
    started_date: Moment | None = None
    completed_date: Moment | None = None
    tenant_id: Id
    integration_id: Id
    is_scheduled: Hidden[bool] = False
    script: Hidden[Script] = Field(default_factory=Script)
    step: Hidden[int] = Field(default=0, ge=0)
    history: Hidden[list[PhaseChange]] = Field(default_factory=list)
    phase: Hidden[str | None] = None
    until: Hidden[Moment | None] = None
    polls: Hidden[int] = Field(default=0, ge=0)

    @field_validator("step")
    @classmethod
    def _is_in_the_script(cls, step: int, given: ValidationInfo) -> int:
        if "script" in given.data and step > len(given.data["script"].phases):
            raise PydanticCustomError("value_error", "exceeds the number of phases in the script")
        return step

    @field_validator("history")
    @classmethod
    def _agrees_with_the_dates(
        cls, history: list[PhaseChange], given: ValidationInfo
    ) -> list[PhaseChange]:
        has_started = given.data.get("started_date") is not None
        if bool(history) is not has_started or (given.data.get("step") == 0) is has_started:
            msg = "only a run that has started has a history, a step and a started_date"
            raise PydanticCustomError("value_error", msg)
        if given.data.get("completed_date") is not None and not history:
            raise PydanticCustomError("value_error", "a completed run has a history")
        if history != sorted(history, key=lambda change: change.date):
            raise PydanticCustomError("value_error", "must be in chronological order")
        return history

    def has_appeared(self) -> bool:
        """Return whether the API lists the run."""
        return self.started_date is not None

    def is_over(self) -> bool:
        """Return whether the run has ended."""
        return self.completed_date is not None

    def has_succeeded(self) -> bool:
        """Return whether the last phase of the run is a success."""
        return self.history[-1].phase.casefold() in SUCCESSES


class Upstream(Record):
    """The fixed response of the system behind a connector, or of one of its hosts."""

    connector: str = Field(min_length=1)
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$")
    status: int = Field(default=200, ge=200, le=599)
    data: Any = None
