"""
Use a journal on command: the process that `support.journals.JournalProcess` starts.

Arguments: the event loop, and the path of the journal. A command is one line, a JSON list with a
name and arguments. Its result is one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from pandium import PandiumError
from pandium._bulk.sqlite import SQLiteJournal
from pandium._clock import RealClock
from support.journals import JOB


def write(result: object) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


async def claim(journal: SQLiteJournal, tenant_id: int) -> list[Any]:
    try:
        entry = await journal.claim(tenant_id, retry_unknown=False)
    except PandiumError as error:
        return ["error", str(error)]
    return [entry.state.value, entry.is_mine]


async def run(journal: SQLiteJournal, path: Path, command: str, *arguments: Any) -> object:
    if command == "claim":
        return await claim(journal, *arguments)
    if command == "triggered":
        await journal.record_triggered(*arguments)
        return None
    if command == "read":
        return len(path.read_bytes())  # noqa: ASYNC240 - as a careless user would
    raise AssertionError(command)


async def main(path: Path) -> None:
    async with SQLiteJournal(path, JOB, RealClock()) as journal:
        write("open")
        while True:
            line = await anyio.to_thread.run_sync(sys.stdin.readline)
            command, *arguments = json.loads(line) if line else ["close"]
            if command == "close":
                break
            write(await run(journal, path, command, *arguments))
    write("closed")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[2]), backend=sys.argv[1])
