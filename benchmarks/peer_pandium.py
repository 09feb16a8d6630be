"""List tenants with pandium."""

from __future__ import annotations

from typing import Any

from pandium import AsyncPandium
from pandium._serialization.convert import decode, decode_records
from pandium.models import Tenant


def read(data: bytes) -> list[Tenant]:
    return decode(data, list[Tenant])


def read_raw(data: bytes) -> list[dict[str, Any]]:
    """Decode a page as `listing.raw()` does."""
    return decode_records(data)


async def walk(url: str, page_size: int, prefetch: int) -> int:
    async with AsyncPandium("key", base_url=url) as client:
        seen = 0
        async for _ in client.tenants.list(page_size=page_size, prefetch=prefetch):
            seen += 1
        return seen
