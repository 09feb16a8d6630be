"""Read and write files whose descriptors may be non-blocking."""

from __future__ import annotations

import io
import select
from typing import Any

__all__ = ["BlockingFile"]


class BlockingFile(io.FileIO):
    """
    A file whose reads and writes wait, even if its descriptor is non-blocking.

    A program that shares a terminal or a pipe with this process, such as Node.js or ssh, may have
    made it non-blocking. Changing that would affect the other program, too.
    """

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer and return the number of bytes, which is 0 at the end of the file."""
        while (count := super().readinto(buffer)) is None:
            select.select([self], [], [])
        return count

    def write(self, data: Any, /) -> int:
        """Write at least one byte and return the number of bytes that were written."""
        while (count := super().write(data)) is None:
            select.select([], [self], [])
        return count
