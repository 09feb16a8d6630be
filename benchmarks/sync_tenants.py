"""
Sync tenants in a separate process and print the measurements as JSON.

The process writes a line when it is ready, and begins when it reads one.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import time
from typing import Any

from pandium import AsyncPandium, Polling

# Every run has ended when it is polled for the first time.
POLLING = Polling(first=0.0, minimum=0.05, rate=1e6)


def open_journal(name: str) -> Any:
    if not name.startswith("postgresql:"):
        return name or None
    return importlib.import_module("pandium.postgres").PostgresJournal(name, job="benchmark")


async def sync(client: AsyncPandium, options: argparse.Namespace) -> None:
    async with client.tenants.sync_all(
        range(options.start, options.stop),
        mode="normal",
        journal=open_journal(options.journal),
        max_concurrency=options.width,
        poll=POLLING,
    ) as results:
        found = [result async for result in results]
    failed = [result for result in found if result.error is not None]
    assert not failed, failed[0]
    assert len(found) == options.stop - options.start


async def main(options: argparse.Namespace) -> None:
    connections = min(options.width, 100)
    async with AsyncPandium("key", base_url=options.url, max_connections=connections) as client:
        await client.runs.status("0")  # the first request imports modules
        print("ready", flush=True)
        sys.stdin.readline()
        cpu = time.process_time()
        await sync(client, options)
        print(json.dumps({"cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("start", type=int)
    parser.add_argument("stop", type=int)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--journal", default="")
    asyncio.run(main(parser.parse_args()))
