"""Read and decompress response bodies, up to a size limit."""

from __future__ import annotations

import logging
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

__all__ = ["BoundedBody", "UnreadableResponseError"]

_log = logging.getLogger("pandium")
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_MAX_ENCODINGS = 2  # a response with more is likely an attack on the client's CPU time
_MAX_PART = 2**20
# The maximum size of a compressed body, relative to that of its content. A server can send a
# compressed body without end that has no content, such as empty gzip members.
_MAX_OVERHEAD = 2
_MAX_HEADERS = 1024
# zlib copies the rest of its input at the end of each gzip member.
_MAX_INPUT = 4096
# The maximum number of calls of zlib: some for any body, one for each received chunk and encoding,
# and one for each 16 bytes. A body that was compressed twice could otherwise need seconds of CPU
# time for each kilobyte.
_MIN_STEPS = 40_000
_BYTES_PER_STEP = 16
_ZLIB_HEADER = 2  # the length of the header, in bytes
# Values that some servers and storage hosts send, although the body is not compressed.
_UNCHANGED = frozenset({"identity", "none", "utf-8", "aws-chunked"})


class UnreadableResponseError(Exception):
    """
    The response is too large, cannot be decompressed or has an invalid redirect.

    This error never reaches users, who get a `DecodeError` instead. It is a separate class, because
    a user-supplied transport could raise a `DecodeError` too.
    """


class BoundedBody:
    """
    A response body that is read and decompressed chunk by chunk, up to a maximum size.

    :param max_bytes: the maximum size of the decompressed body, in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._decoders: list[_Decompressor] = []
        # A list of chunks would take many times as much memory if each of them is small.
        self._content = bytearray()
        self._max_bytes = max_bytes
        self._received = 0
        self._steps_left = _MIN_STEPS

    async def read(self, response: httpx.Response) -> bytes:
        """
        Read a response body to the end and return it.

        :raises UnreadableResponseError: if the body is too large or cannot be decompressed.
        """
        if response.is_stream_consumed:  # a mock has already read and decoded it
            self._feed(await response.aread())
            return self._finish()
        self._decoders = _decompressors_for(response.headers.get("content-encoding", ""))
        chunks = response.aiter_raw()
        try:
            async for chunk in chunks:
                self._feed_raw(chunk)
        except UnreadableResponseError:
            # Exhaust the generators. Trio warns about any that are left to the garbage collector.
            await response.aclose()
            with suppress(Exception):
                async for _ in chunks:
                    pass
            raise
        return self._finish()

    def partial(self) -> bytes:
        """Return the part of the body that has been read so far."""
        return bytes(self._content)

    def _feed_raw(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._received > _MAX_OVERHEAD * self._max_bytes + _MAX_HEADERS:
            raise self._too_large()
        self._steps_left += len(self._decoders) + len(chunk) // _BYTES_PER_STEP
        self._feed(chunk)

    def _feed(self, chunk: bytes, stage: int = 0) -> None:
        if stage < len(self._decoders):
            for part in self._decoders[stage].feed(chunk, _MAX_PART):
                self._count_step()
                self._feed(part, stage + 1)
            return
        remaining = self._max_bytes - len(self._content)
        self._content += chunk[:remaining]
        if len(chunk) > remaining:
            raise self._too_large()

    def _count_step(self) -> None:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise UnreadableResponseError("the response takes too long to decompress")

    def _too_large(self) -> UnreadableResponseError:
        return UnreadableResponseError(f"the response is larger than {self._max_bytes} bytes")

    def _finish(self) -> bytes:
        if any(decoder.is_truncated for decoder in self._decoders):
            raise UnreadableResponseError("the compressed response is truncated")
        return self.partial()


class _Decompressor:
    """
    A decompressor for consecutive gzip members or a zlib stream.

    :param may_be_raw: whether to also accept a stream without the zlib header, which some servers
        send for ``deflate`` (RFC 9110, section 8.4.1.2).
    """

    def __init__(self, *, may_be_raw: bool) -> None:
        self._decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
        # The data so far, until it is long enough to contain the header.
        self._head: bytes | None = b"" if may_be_raw else None
        self._has_data = False
        self._is_done = False

    @property
    def is_truncated(self) -> bool:
        return self._has_data and not self._decompressor.eof

    def feed(self, chunk: bytes, max_bytes: int) -> Iterator[bytes]:
        """Decompress a chunk and yield the result in parts of at most ``max_bytes``."""
        for start in range(0, len(chunk), _MAX_INPUT):
            rest, part = chunk[start : start + _MAX_INPUT], b""
            # After a part of the maximum size, there may be further output without any input left.
            while (rest or len(part) == max_bytes) and not self._is_done:
                part, rest = self._decompress(rest, max_bytes)
                yield part

    def _decompress(self, chunk: bytes, max_bytes: int) -> tuple[bytes, bytes]:
        if self._decompressor.eof and not self._begin_member(chunk := chunk.lstrip(b"\0")):
            return b"", b""
        self._has_data = True
        if self._head is not None:
            chunk = self._recognize_raw(chunk)
        try:
            part = self._decompressor.decompress(chunk, max_bytes)
        except zlib.error as error:
            raise UnreadableResponseError(f"the response cannot be decompressed: {error}") from None
        return part, self._decompressor.unused_data or self._decompressor.unconsumed_tail

    def _recognize_raw(self, chunk: bytes) -> bytes:
        """Return the data to decompress, once it is known whether the stream has a header."""
        head, self._head = (self._head or b"") + chunk, None
        if len(head) < _ZLIB_HEADER:
            self._head = head
            return b""
        try:
            zlib.decompressobj(_GZIP_OR_ZLIB).decompress(head[:_ZLIB_HEADER])
        except zlib.error:
            self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        return head

    def _begin_member(self, chunk: bytes) -> bool:
        """Start the next gzip member. Ignore any other trailing data, as curl does."""
        if not chunk:
            return False
        if chunk[:1] != b"\x1f":
            _log.warning("ignored the bytes after the end of a compressed response")
            self._is_done = True
            return False
        self._decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
        return True


def _decompressors_for(encoding: str) -> list[_Decompressor]:
    """Return a decompressor for each content coding, outermost first."""
    names = [name for part in encoding.split(",") if (name := part.strip().lower())]
    names = [name for name in reversed(names) if name not in _UNCHANGED]
    if len(names) > _MAX_ENCODINGS:
        raise UnreadableResponseError(f"the response has too many content encodings: {len(names)}")
    for name in names:
        if name not in ("gzip", "x-gzip", "deflate"):
            text = f"the response has an unsupported content encoding: {name!r}"
            raise UnreadableResponseError(text)
    return [_Decompressor(may_be_raw=name == "deflate") for name in names]
