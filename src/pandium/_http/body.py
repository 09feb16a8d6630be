"""Read the body of a response, decompressed and within a size limit."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pandium.errors import DecodeError

if TYPE_CHECKING:
    import httpx

__all__ = ["read_body"]

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


async def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """
    Read and decompress a body chunk by chunk, so that it cannot fill the memory.

    :param max_bytes: the largest size of the decompressed body.
    :raises DecodeError: if the body is larger, or not compressed as its headers say.
    """
    if response.is_stream_consumed:  # by a mock, which has decoded it
        body = _BoundedBody("", max_bytes)
        body.feed(await response.aread())
        return body.finish()
    body = _BoundedBody(response.headers.get("content-encoding", ""), max_bytes)
    chunks = response.aiter_raw()
    try:
        async for chunk in chunks:
            body.feed(chunk)
    except DecodeError:
        # Run the generators to their end: left to the garbage collector, trio would warn.
        await response.aclose()
        with suppress(Exception):
            async for _ in chunks:
                pass
        raise
    return body.finish()


class _BoundedBody:
    """Collect the chunks of a body, decompressed, up to a size limit."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._decompressor = _decompressor_for(encoding)
        self._parts: list[bytes] = []
        self._remaining = max_bytes
        self._max_bytes = max_bytes

    def feed(self, chunk: bytes) -> None:
        while chunk:
            part, chunk = (chunk, b"") if self._decompressor is None else self._decompress(chunk)
            self._remaining -= len(part)
            if self._remaining < 0:
                raise DecodeError(f"the response is larger than {self._max_bytes} bytes")
            self._parts.append(part)

    def _decompress(self, chunk: bytes) -> tuple[bytes, bytes]:
        """Decompress up to the end of a gzip member. Consecutive members are one body."""
        if self._decompressor.eof:
            chunk = chunk.lstrip(b"\0")  # padding between members
            if not chunk:
                return b"", b""
            self._decompressor = _decompressor_for(self._encoding)
        try:
            part = self._decompressor.decompress(chunk, self._remaining + 1)
        except zlib.error as error:
            raise DecodeError(f"the compressed response cannot be read: {error}") from None
        return part, self._decompressor.unused_data

    def finish(self) -> bytes:
        if self._decompressor is not None and self._parts and not self._decompressor.eof:
            raise DecodeError("the compressed response ends early")
        return b"".join(self._parts)


def _decompressor_for(encoding: str) -> Any:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(_GZIP_OR_ZLIB)
    raise DecodeError(f"the response has a content encoding that was not requested: {name!r}")
