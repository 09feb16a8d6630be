"""Response bodies are decompressed and limited in size."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pandium import (
    APIError,
    AsyncPandium,
    DecodeError,
    NotFound,
    RateLimited,
    Retry,
    ServerError,
    ValidationError,
)
from support import KEY
from support import servers as bad
from support.servers import Behavior, Misbehaving

if TYPE_CHECKING:
    from pytest_httpx import HTTPXMock

pytestmark = pytest.mark.anyio


MIB = 1024 * 1024
PADDED = b'{"tenant_id":1%s}'


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
    """Gzip, under each of its names, and deflate are decompressed."""
    compress = zlib.compress if encoding == "deflate" else gzip.compress
    httpx_mock.add_response(
        stream=ChunkedBody(compress(b'{"tenant_id":1}')), headers=encoded_as(encoding)
    )
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_deflate_without_a_header_is_decompressed(httpx_mock: HTTPXMock, size: int) -> None:
    """A `deflate` body without the zlib header, which some servers send, is decompressed."""
    raw = zlib.compress(b'{"tenant_id":1}')[2:-4]
    httpx_mock.add_response(stream=ChunkedBody(raw, size), headers=encoded_as("deflate"))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


async def test_deflate_without_a_header_may_end_at_any_size(httpx_mock: HTTPXMock) -> None:
    """A `deflate` body is complete, however many characters its last bytes stand for."""
    async with AsyncPandium(KEY) as client:
        for size in range(MIB - 50, MIB + 300):
            raw = zlib.compress(b'{"tenant_id":1}'.ljust(size))[2:-4]
            httpx_mock.add_response(stream=ChunkedBody(raw, MIB), headers=encoded_as("deflate"))
            assert (await client.tenants.metadata(1)).tenant_id == 1


@pytest.mark.parametrize("size", [1, 2, 7, 33, 1000])
@pytest.mark.parametrize("padding", [b"", b"\0" * 40])
async def test_consecutive_gzip_members_are_one_body(
    httpx_mock: HTTPXMock, size: int, padding: bytes
) -> None:
    """Several gzip members, with or without padding, form one body in chunks of any size."""
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
        ((gzip.compress(b'{"tenant_id":1}', mtime=0) * 2)[:-9], encoded_as("gzip")),
        (b"x" * 10_000_000, {}),
        (gzip.compress(b"", mtime=0) * 1_000, encoded_as("gzip")),
        (gzip.compress(b'{"tenant_id":1}', mtime=0) + b"\0" * 10_000, encoded_as("gzip")),
        (gzip.compress(b'{"tenant_id":1}', mtime=0) + b"x" * 10_000, encoded_as("gzip")),
    ],
)
async def test_an_invalid_or_oversized_body_is_a_decode_error(
    httpx_mock: HTTPXMock, body: bytes, headers: dict[str, str]
) -> None:
    """An invalid compressed body or an oversized one is a `DecodeError` and is not retried."""
    httpx_mock.add_response(stream=ChunkedBody(body), headers=headers)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(DecodeError) as caught:
            await client.tenants.metadata(1)
    assert len(caught.value.attempts) == 1
    assert caught.value.outcome_unknown


async def test_a_body_compressed_twice_cannot_take_unlimited_work(httpx_mock: HTTPXMock) -> None:
    """A small body that expands to very many empty gzip members is a `DecodeError`."""
    members = gzip.compress(b"") * 50_000 + gzip.compress(b'{"tenant_id":1}')
    httpx_mock.add_response(
        stream=ChunkedBody(gzip.compress(members)), headers=encoded_as("gzip, gzip")
    )
    async with AsyncPandium(KEY) as client:
        with pytest.raises(DecodeError, match="takes too long to decompress"):
            await client.tenants.metadata(1)


@pytest.mark.parametrize("size", [1000, 60_000])
async def test_many_members_compressed_twice_are_one_body(httpx_mock: HTTPXMock, size: int) -> None:
    """A body that was compressed twice may have any usual number of gzip members."""
    text = PADDED % (b" " * size)
    members = b"".join(gzip.compress(text[at : at + 10]) for at in range(0, len(text), 10))
    httpx_mock.add_response(
        stream=ChunkedBody(gzip.compress(members)), headers=encoded_as("gzip, gzip")
    )
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


async def test_a_compressed_body_may_be_received_in_small_chunks(httpx_mock: HTTPXMock) -> None:
    """A compressed body is decompressed even if it is received in many very small chunks."""
    noise = random.Random(1).randbytes(100_000).hex().encode()
    body = zlib.compress(b'{"tenant_id":1,"data":{"noise":"%s"}}' % noise)
    httpx_mock.add_response(stream=ChunkedBody(body, 2), headers=encoded_as("deflate"))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


async def test_many_small_chunks_take_little_memory(httpx_mock: HTTPXMock) -> None:
    """A body takes no more memory if it is received in very small chunks."""
    text = PADDED % (b" " * 200_000)
    httpx_mock.add_response(stream=ChunkedBody(text, 2))
    async with AsyncPandium(KEY) as client:
        tracemalloc.start()
        try:
            assert (await client.tenants.metadata(1)).tenant_id == 1
            assert tracemalloc.get_traced_memory()[1] < 10 * len(text)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [100, 4000 - len(PADDED)])
async def test_the_overhead_of_a_compression_does_not_count(
    httpx_mock: HTTPXMock, size: int
) -> None:
    """A compressed body may be larger than its content, for example if it has many parts."""
    compressor = zlib.compressobj(level=0)
    text = PADDED % (b" " * size)
    parts = [
        compressor.compress(text[at : at + 10]) + compressor.flush(zlib.Z_SYNC_FLUSH)
        for at in range(0, len(text), 10)
    ]
    body = b"".join([*parts, compressor.flush()])
    assert len(body) > 1.9 * len(text)
    httpx_mock.add_response(stream=ChunkedBody(body), headers=encoded_as("deflate"))
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


async def test_the_size_limit_applies_to_mocked_bodies(httpx_mock: HTTPXMock) -> None:
    """The size limit also applies to a body that a mock already holds in memory."""
    httpx_mock.add_response(text=" " * 5000)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(DecodeError, match="4000 bytes"):
            await client.tenants.metadata(1)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_bytes_after_a_gzip_member_are_ignored(
    httpx_mock: HTTPXMock, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """Bytes after the last gzip member are ignored, as curl does, with one warning."""
    body = gzip.compress(b'{"tenant_id":1}') + b"and more, which is not gzip"
    httpx_mock.add_response(stream=ChunkedBody(body, size), headers=encoded_as("gzip"))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1
    assert [record.levelname for record in caplog.records if record.name == "pandium"] == [
        "WARNING"
    ]


ENCODERS: dict[str, list[Any]] = {
    "identity": [],
    "none": [],
    "UTF-8": [],
    "aws-chunked, gzip": [gzip.compress],
    "gzip, identity": [gzip.compress],
    "deflate, gzip": [zlib.compress, gzip.compress],
    "gzip,gzip": [gzip.compress, gzip.compress],
}


@pytest.mark.parametrize("encoding", ENCODERS)
async def test_content_encoding_is_a_list(httpx_mock: HTTPXMock, encoding: str) -> None:
    """A body that was encoded several times is decoded in reverse order."""
    body = b'{"tenant_id":1}'
    for encode in ENCODERS[encoding]:
        body = encode(body)
    httpx_mock.add_response(stream=ChunkedBody(body, 3), headers=encoded_as(encoding))
    async with AsyncPandium(KEY) as client:
        assert (await client.tenants.metadata(1)).tenant_id == 1


# The error status takes precedence


BROKEN_BODIES = {
    "not gzip": (b"<html>maintenance</html>", encoded_as("gzip")),
    "unknown encoding": (b"<html>maintenance</html>", encoded_as("br")),
    "too large": (b"<html>" * 10_000, {}),
    "truncated": (gzip.compress(b"x" * 1000, mtime=0)[:-9], encoded_as("gzip")),
    "not text": (b"\xff\xfe\xfd", {}),
    "too many encodings": (b"x", encoded_as("gzip, gzip, gzip")),
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
@pytest.mark.parametrize(
    ("status", "cls"), [(404, NotFound), (422, ValidationError), (503, ServerError)]
)
async def test_the_status_decides_whatever_the_body_is(
    httpx_mock: HTTPXMock, name: str, status: int, cls: type[APIError]
) -> None:
    """The error for a status is raised even if the body cannot be decoded or is too large."""
    body, headers = BROKEN_BODIES[name]
    httpx_mock.add_response(status_code=status, stream=ChunkedBody(body), headers=headers)
    async with AsyncPandium(KEY, max_response_bytes=4000, retry=Retry.never()) as client:
        with pytest.raises(cls) as caught:
            await client.tenants.metadata(1)
    assert type(caught.value) is cls
    assert len(str(caught.value.body)) <= 4000


@pytest.mark.parametrize("name", BROKEN_BODIES)
async def test_a_rate_limit_counts_whatever_the_body_is(httpx_mock: HTTPXMock, name: str) -> None:
    """`Retry-After` is respected even if the body of the 429 response cannot be decoded."""
    body, headers = BROKEN_BODIES[name]
    headers = {**headers, "Retry-After": "3600"}
    httpx_mock.add_response(status_code=429, stream=ChunkedBody(body), headers=headers)
    async with AsyncPandium(KEY, max_response_bytes=4000) as client:
        with pytest.raises(RateLimited) as caught:
            await client.tenants.sync(1, mode="normal")
    assert caught.value.retry_after == 3600
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    "behavior",
    [bad.status_and_stall("404 Not Found"), bad.status_and_reset("404 Not Found")],
    ids=["stall", "reset"],
)
async def test_the_status_decides_if_the_body_never_comes(behavior: Behavior) -> None:
    """A 404 whose body stalls or is cut off is `NotFound`, and its outcome is known."""
    with Misbehaving(behavior) as server:
        async with AsyncPandium(KEY, base_url=server.url, timeout=0.5) as client:
            with pytest.raises(NotFound) as caught:
                await client.tenants.sync(1, mode="normal")
    assert not caught.value.outcome_unknown
