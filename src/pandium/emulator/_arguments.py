"""What adds a record by hand takes: the form of seeds and of the methods alike."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Arguments(BaseModel):
    """Arguments of the right types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ConnectorArguments(Arguments):
    """A connector that is more than its name."""

    name: str = Field(min_length=1)
    is_global: bool = False


class IntegrationArguments(Arguments):
    """What makes an integration."""

    id: int | None = Field(None, ge=1)
    name: str | None = None
    long_name: str | None = None
    connectors: tuple[str | ConnectorArguments, ...] = Field(("crm", "shop"), strict=False)
    type: Literal["Internal", "External", "Pandium"] = "External"
    archived: bool = False
    releases: int = Field(1, ge=0)
    config_schema: dict[str, Any] | None = None
    metadata_schema: dict[str, Any] | None = None
    schedule: str | None = None
    default_release_channel: Literal["Latest", "Default"] | None = None
    created_date: datetime | None = Field(None, strict=False)


class ReleaseArguments(Arguments):
    """What makes a release."""

    id: int | None = Field(None, ge=1)
    integration_id: int
    name: str | None = None
    tag: str | None = None
    config_version: str = "1"
    config_schema: dict[str, Any] | None = None
    metadata_schema: dict[str, Any] | None = None
    default: bool = False
    created_date: datetime | None = Field(None, strict=False)


class TenantArguments(Arguments):
    """What makes a tenant."""

    id: int | None = Field(None, ge=1)
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
    created_date: datetime | None = Field(None, strict=False)
