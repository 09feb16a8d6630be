"""Read standard input without keeping the process from ending."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from pandium._blocking_file import BlockingFile

if TYPE_CHECKING:
    from anyio.lowlevel import EventLoopToken
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["read_lines"]

_log = logging.getLogger("pandium")
_MAX_LENGTH = 2**24  # characters; a client that sends a longer line is broken


def read_lines() -> MemoryObjectReceiveStream[str]:
    """
    Return a stream of the lines of standard input. It ends at a line that is too long.

    A read from a pipe or a terminal cannot be canceled. With `anyio.wrap_file`, the process would
    therefore ignore Ctrl-C and SIGTERM until the next line arrives. The thread of this function
    does not have to end before the process does.
    """
    send, receive = anyio.create_memory_object_stream[str]()
    arguments = (send, current_token(), anyio.get_cancelled_exc_class())
    threading.Thread(target=_forward_lines, args=arguments, daemon=True).start()
    return receive


def _forward_lines(
    send: MemoryObjectSendStream[str], token: EventLoopToken, canceled: type[BaseException]
) -> None:
    # All of these mean that the event loop has ended.
    with suppress(anyio.BrokenResourceError, CancelledError, RuntimeError, canceled):
        try:
            # A socket or a terminal whose other side has gone raises an OSError.
            with suppress(OSError), _duplicate(sys.stdin) as lines:
                while line := lines.readline(_MAX_LENGTH):
                    if len(line) == _MAX_LENGTH:
                        _log.error("a message is longer than %d characters", _MAX_LENGTH - 1)
                        break
                    from_thread.run(send.send, line, token=token)
        finally:
            try:
                from_thread.run_sync(send.close, token=token)
            except RuntimeError:  # as above
                send.close()


def _duplicate(stream: TextIO) -> TextIO:
    # The interpreter cannot exit while a thread reads from sys.stdin itself.
    file = io.BufferedReader(BlockingFile(os.dup(stream.fileno())))
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
