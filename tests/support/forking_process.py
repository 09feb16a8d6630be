"""
Fork while a journal is open: the process that test_file_identity.py starts.

Arguments: the event loop, the path of the journal, and a mode. ``inherit``: the child continues
with the journal of the parent. ``open``: the child opens the same file again. ``transaction``: a
thread forks while another one is in a transaction. Each process writes its results as one line.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from pandium import PandiumError
from pandium._bulk.file_identity import create_revisions
from pandium._bulk.sqlite import SQLiteJournal
from pandium._bulk.sqlite_connection import Database
from pandium._clock import RealClock
from support.journals import JOB, claim

if TYPE_CHECKING:
    from pandium._bulk.sqlite_connection import Connection

BACKEND, PATH, MODE = sys.argv[1], Path(sys.argv[2]), sys.argv[3]


def write(*results: object) -> None:
    sys.stdout.write(json.dumps(results) + "\n")
    sys.stdout.flush()


async def claim_or_error(journal: SQLiteJournal, tenant_id: int) -> object:
    try:
        return (await claim(journal, tenant_id)).is_mine
    except PandiumError as error:
        return str(error)


async def inherit() -> None:
    journal = SQLiteJournal(PATH, JOB, RealClock())
    async with journal:
        first = await claim_or_error(journal, 1)
        if child := os.fork():
            os.waitpid(child, 0)  # noqa: ASYNC222 - a task could not wait for it
            write("parent", first, await claim_or_error(journal, 2))
            return
        error = await claim_or_error(journal, 2)
        await journal.__aexit__(None, None, None)
        write("child", error)
        os._exit(0)


async def claim_in_child() -> None:
    async with SQLiteJournal(PATH, JOB, RealClock()) as journal:
        write("child", *[await claim_or_error(journal, n) for n in (1, 2)])


def fork_and_claim() -> None:
    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        anyio.run(claim_in_child, backend=BACKEND)
    finally:
        os._exit(0)


async def open_again() -> None:
    async with SQLiteJournal(PATH, JOB, RealClock()) as journal:
        first = await claim_or_error(journal, 1)
        # This thread has no event loop, so that the child can run its own.
        await anyio.to_thread.run_sync(fork_and_claim)
        write("parent", first, *[await claim_or_error(journal, n) for n in (2, 3)])


async def fork_during_transaction() -> None:
    is_forking, is_over = threading.Event(), threading.Event()

    def work(_: Connection) -> None:
        threading.Thread(target=fork).start()
        is_forking.wait()
        time.sleep(0.2)  # enough time for a fork that is not delayed
        is_over.set()

    def fork() -> None:
        is_forking.set()
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            write("child", is_over.is_set())
            os._exit(0)

    database = Database(PATH, "journal", RealClock())
    await database.open(create_revisions)
    await database.run(work)
    await database.close(lambda _: None)


MODES = {"inherit": inherit, "open": open_again, "transaction": fork_during_transaction}

if __name__ == "__main__":
    anyio.run(MODES[MODE], backend=BACKEND)
