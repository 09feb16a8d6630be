"""The form of a saved state: the records with all of their fields, and what runs go through."""

from typing import Any, Literal

from pydantic import Field

from pandium.emulator.state.arguments import (
    Arguments,
    Id,
    Moment,
    PhasesForm,
    ScriptArguments,
    SpanForm,
    UpstreamArguments,
)
from pandium.emulator.state.builds import Build, BuildScript

Object = dict[str, Any]
VERSION = 1


class ConnectorState(Arguments):
    """A connector of an integration."""

    name: str
    is_global: bool = False


class IntegrationState(Arguments):
    """An integration."""

    id: Id
    name: str
    long_name: str
    type: str
    archived: bool
    connectors: list[ConnectorState]
    created_date: Moment
    modified_date: Moment
    default_release_id: Id | None = None
    default_release_channel: Literal["Latest", "Default"] | None = None
    schedule: str | None = None
    paused: bool = False
    repository_path: str | None = None
    repository_tracking_branch: str | None = None
    repository_url: str | None = None
    categories: list[Object] = Field(default_factory=list)
    tags: list[Object] = Field(default_factory=list)
    flag: Object | None = None


class ReleaseState(Arguments):
    """A release; those of one integration come by age."""

    id: Id
    integration_id: Id
    name: str
    config_version: str
    created_date: Moment
    modified_date: Moment
    tag: str | None = None
    run_command: str | None = None
    repository_tracking_branch: str | None = None
    config_schema: Object | None = None
    metadata_schema: Object | None = None


class ConnectionState(Arguments):
    """Where a tenant stands with a connector."""

    name: str
    connected: bool
    last_change: Moment | None = None


class MetadataState(Arguments):
    """The metadata of a tenant; without dates nobody has written any."""

    data: Object = Field(default_factory=dict)
    created_date: Moment | None = None
    modified_date: Moment | None = None


class TenantState(Arguments):
    """A tenant."""

    id: Id
    name: str
    integration_id: Id
    paused: bool
    created_date: Moment
    modified_date: Moment
    user_name: str | None = None
    archived: bool = False
    configs: Object = Field(default_factory=dict)
    dynamic_configs: Object = Field(default_factory=dict)
    user_schedule: str | None = None
    source: str = "api"
    integration_release_id: Id | None = None
    integration_release_channel: str | None = None
    connections: list[ConnectionState] = Field(default_factory=list)
    metadata: MetadataState = Field(default_factory=MetadataState)


class TriggerState(Arguments):
    """A request for a run."""

    id: Id
    at: Moment
    mode: str
    source: str
    payload: Object | None = None


class ScriptState(Arguments):
    """What a run goes through; null is for ever."""

    appears_after: SpanForm
    phases: PhasesForm
    killed_after: float | None = Field(ge=0)


class PhaseChangeState(Arguments):
    """A word that a run has shown, and since when."""

    at: Moment
    phase: str = Field(min_length=1)


class RunState(Arguments):
    """
    A run, and how far it has come.

    It has begun so many steps of its script, and shown these words. The present step ends at a
    date or with the last of so many looks; a run without words has not appeared.
    """

    id: Id
    tenant_id: Id
    integration_id: Id
    mode: str
    is_scheduled: bool = False
    triggers: list[TriggerState] = Field(min_length=1)
    script: ScriptState
    step: int = Field(0, ge=0)
    history: list[PhaseChangeState] = Field(default_factory=list)
    status: str | None = None
    until: Moment | None = None
    polls: int = Field(0, ge=0)
    ended_at: Moment | None = None


class BuildsState(Arguments):
    """The scripts of builds, and the builds that have not finished."""

    scripts: list[BuildScript] = Field(default_factory=list)
    pending: list[Build] = Field(default_factory=list)


class SavedState(Arguments):
    """All that an emulator holds."""

    pandium_emulator_state: Literal[1] = Field(description="The version of the format.")
    saved_at: Moment
    integrations: list[IntegrationState] = Field(default_factory=list)
    releases: list[ReleaseState] = Field(default_factory=list)
    tenants: list[TenantState] = Field(default_factory=list)
    runs: list[RunState] = Field(default_factory=list)
    scripts: list[ScriptArguments] = Field(default_factory=list)
    upstreams: list[UpstreamArguments] = Field(default_factory=list)
    builds: BuildsState = Field(default_factory=BuildsState)
