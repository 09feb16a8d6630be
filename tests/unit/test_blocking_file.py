"""Files that wait, although their descriptors are non-blocking."""

from __future__ import annotations

import io
import os
import threading

import pytest

from pandium._blocking_file import BlockingFile
from support.waiting import is_asleep, wait_until

pytestmark = pytest.mark.posix

DATA = bytes(range(256)) * 4096  # more than a pipe holds


def test_a_write_waits_for_the_reader() -> None:
    """More than a pipe holds is written completely, once it is read."""
    source, target = os.pipe()
    os.set_blocking(target, False)

    def write() -> None:
        with io.BufferedWriter(BlockingFile(target, "w")) as file:
            file.write(DATA)

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: is_asleep("self", thread.native_id))
    with os.fdopen(source, "rb") as file:
        assert file.read() == DATA
    thread.join()


def test_a_read_waits_for_data_and_the_end() -> None:
    """An empty pipe is not the end of the file, which is where its writer closes it."""
    source, target = os.pipe()
    os.set_blocking(source, False)
    read: list[bytes] = []

    def read_all() -> None:
        with io.BufferedReader(BlockingFile(source)) as file:
            read.extend(file)

    thread = threading.Thread(target=read_all)
    thread.start()
    wait_until(lambda: is_asleep("self", thread.native_id))
    os.write(target, b"first line\nlast")
    wait_until(lambda: is_asleep("self", thread.native_id))
    os.write(target, b" line\n")
    os.close(target)
    thread.join()
    assert read == [b"first line\n", b"last line\n"]
