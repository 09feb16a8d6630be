"""List tenants with an httpx loop and handwritten pydantic models."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic needs it at run time
from typing import Any

import httpx
import pydantic


class ConnectorStatus(pydantic.BaseModel):
    name: str
    status: str
    last_change: datetime | None = None


class AuthStatus(pydantic.BaseModel):
    connected: bool = False
    connectors: list[ConnectorStatus] | None = None


class TenantStatus(pydantic.BaseModel):
    last_run: dict[str, Any] | None = None
    current_run: dict[str, Any] | None = None
    last_successful_run: dict[str, Any] | None = None
    dynamic_configs: dict[str, Any] | None = None
    auth: AuthStatus | None = None


class Tenant(pydantic.BaseModel):
    id: int
    name: str
    archived: bool | None = None
    integration_id: int | None = None
    configs: dict[str, Any] | None = None
    created_date: datetime | None = None
    modified_date: datetime | None = None
    paused: bool | None = True
    user_schedule: str | None = None
    schedule: str | None = None
    source: str | None = "api"
    integration_release_id: int | None = None
    integration_release_channel: str | None = None
    status: TenantStatus | None = None


read = pydantic.TypeAdapter(list[Tenant]).validate_json


async def walk(url: str, page_size: int, _: int) -> int:
    async with httpx.AsyncClient(base_url=url, headers={"X-API-KEY": "key"}) as client:
        seen = 0
        while True:
            params = {"skip": seen, "limit": page_size}
            response = await client.get("/v2/tenants", params=params)
            page = read(response.raise_for_status().content)
            for _tenant in page:
                seen += 1
            if len(page) < page_size:
                return seen
