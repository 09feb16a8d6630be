"""Response bodies: decompressed, and limited in size."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pandium import AsyncPandium, DecodeError
from support import KEY

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

pytestmark = pytest.mark.anyio


class ChunkedBody(httpx.AsyncByteStream):
    def __init__(self, content: bytes, size: int = 1000) -> None:
        self._content = content
        self._size = size

    async def __aiter__(self) -> Any:
        for start in range(0, len(self._content), self._size):
            yield self._content[start : start + self._size]


def encoded_as(encoding: str) -> dict[str, str]:
    return {"Content-Encoding": encoding}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", "GZIP"])
async def test_compressed_responses_are_decompressed(httpx_mock: HTTPXMock, encoding: str) -> None:
    """Gzip under any of its names, and deflate, are decompressed."""
    compress = zlib.compress if encoding == "deflate" else gzip.compress
    httpx_mock.add_response(
        stream=ChunkedBody(compress(b'{"tenant_id":1}')), headers=encoded_as(encoding)
    )
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


@pytest.mark.parametrize("size", [1, 2, 7, 33, 1000])
@pytest.mark.parametrize("padding", [b"", b"\0" * 40])
async def test_consecutive_gzip_members_are_one_body(
    httpx_mock: HTTPXMock, size: int, padding: bytes
) -> None:
    """Several gzip members, with or without padding, are one body, in chunks of any size."""
    compressed = b"".join(gzip.compress(part) + padding for part in (b'{"tenant', b'_id":', b"1}"))
    httpx_mock.add_response(stream=ChunkedBody(compressed, size), headers=encoded_as("gzip"))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not gzip at all", encoded_as("gzip")),
        (gzip.compress(b'{"tenant_id":1}', mtime=0)[:-9], encoded_as("gzip")),
        (b"{}", encoded_as("br")),
        (b" " * 5000 + b'{"tenant_id":1}', {}),
        (gzip.compress(b" " * 50_000_000, mtime=0), encoded_as("gzip")),
        (gzip.compress(b" " * 3_000, mtime=0) * 2, encoded_as("gzip")),
        (gzip.compress(b'{"tenant_id":1}', mtime=0) + b"and more", encoded_as("gzip")),
        ((gzip.compress(b'{"tenant_id":1}', mtime=0) * 2)[:-9], encoded_as("gzip")),
        (b"x" * 10_000_000, {}),
    ],
)
async def test_an_invalid_or_oversized_body_is_a_decode_error(
    httpx_mock: HTTPXMock, body: bytes, headers: dict[str, str]
) -> None:
    """A body that cannot be decompressed, or is too large, is a `DecodeError` without a retry."""
    httpx_mock.add_response(stream=ChunkedBody(body), headers=headers)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(DecodeError) as caught:
            await client.tenants.metadata(1)
    assert len(caught.value.attempts) == 1
    assert caught.value.outcome_unknown


async def test_the_size_limit_applies_to_mocked_bodies(httpx_mock: HTTPXMock) -> None:
    """The size limit applies to a body that a mock already holds in memory."""
    httpx_mock.add_response(text=" " * 5000)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(DecodeError, match="4000 bytes"):
            await client.tenants.metadata(1)
