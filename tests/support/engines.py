"""Other HTTP clients that users may put under httpx."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def over_httpx() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@asynccontextmanager
async def over_aiohttp() -> AsyncIterator[httpx.AsyncClient]:
    transport = AiohttpTransport(client=aiohttp.ClientSession)
    async with httpx.AsyncClient(transport=transport) as client:
        yield client


@asynccontextmanager
async def over_pyreqwest() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        # By default, this engine follows redirects itself and sends all headers to their targets.
        ClientBuilder().follow_redirects(False).build() as engine,
        httpx.AsyncClient(transport=HttpxTransport(engine)) as client,
    ):
        yield client


ENGINES = {"httpx": over_httpx, "aiohttp": over_aiohttp, "pyreqwest": over_pyreqwest}
