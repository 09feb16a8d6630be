"""The records that an emulator keeps: immutable, replaced when something changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class ConnectorRecord:
    """A system that an integration connects to."""

    name: str
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """One version of an integration."""

    id: int
    integration_id: int
    name: str
    config_version: str
    created_date: datetime
    modified_date: datetime
    tag: str | None = None
    run_command: str | None = None
    repository_tracking_branch: str | None = None
    config_schema: Mapping[str, Any] | None = None
    metadata_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Integration:
    """An application, and what the tenants of it have in common."""

    id: int
    name: str
    long_name: str
    type: str
    archived: bool
    connectors: tuple[ConnectorRecord, ...]
    created_date: datetime
    modified_date: datetime
    default_release_id: int | None = None
    default_release_channel: str | None = None
    schedule: str | None = None
    paused: bool = False
    repository_path: str | None = None
    repository_tracking_branch: str | None = None
    repository_url: str | None = None
    categories: tuple[Mapping[str, Any], ...] = ()
    tags: tuple[Mapping[str, Any], ...] = ()
    flag: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """Where a tenant stands with one connector."""

    name: str
    connected: bool
    last_change: datetime | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a tenant; without dates as long as nobody has written any."""

    data: Mapping[str, Any] = field(default_factory=dict)
    created_date: datetime | None = None
    modified_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One installation of an integration."""

    id: int
    name: str
    integration_id: int
    paused: bool
    created_date: datetime
    modified_date: datetime
    user_name: str | None = None
    archived: bool = False
    configs: Mapping[str, Any] = field(default_factory=dict)
    dynamic_configs: Mapping[str, Any] = field(default_factory=dict)
    user_schedule: str | None = None
    source: str = "api"
    integration_release_id: int | None = None
    integration_release_channel: str | None = None
    connections: tuple[ConnectionRecord, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)
