"""List tenants with an aiohttp loop and handwritten msgspec structs, as the lower bound."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec needs it at run time
from typing import Any

import aiohttp
import msgspec


class ConnectorStatus(msgspec.Struct):
    name: str
    status: str
    last_change: datetime | None = None


class AuthStatus(msgspec.Struct):
    connected: bool = False
    connectors: list[ConnectorStatus] | None = None


class TenantStatus(msgspec.Struct):
    last_run: dict[str, Any] | None = None
    current_run: dict[str, Any] | None = None
    last_successful_run: dict[str, Any] | None = None
    dynamic_configs: dict[str, Any] | None = None
    auth: AuthStatus | None = None


class Tenant(msgspec.Struct):
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


read = msgspec.json.Decoder(list[Tenant]).decode


async def walk(url: str, page_size: int, _: int) -> int:
    async with aiohttp.ClientSession(url, headers={"X-API-KEY": "key"}) as session:
        seen = 0
        while True:
            params = {"skip": seen, "limit": page_size}
            async with session.get("/v2/tenants", params=params) as response:
                response.raise_for_status()
                page = read(await response.read())
            for _tenant in page:
                seen += 1
            if len(page) < page_size:
                return seen
