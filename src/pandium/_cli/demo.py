"""Run the `demo` command: list tenants, sync them and wait for runs on a local emulator."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Self, TypeAlias

import anyio
import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pandium import AsyncPandium, Polling, RunResult, Trigger
from pandium._cli.output.terminal import can_animate
from pandium._cli.session import run_coroutine
from pandium.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import TextIO

    from anyio.streams.memory import MemoryObjectSendStream

    from pandium.models import Tenant

__all__ = [
    "Bars",
    "Display",
    "Lines",
    "Report",
    "Size",
    "choose_display",
    "create_emulator",
    "run",
]

Rows: TypeAlias = "list[tuple[str, str]]"
Display: TypeAlias = "Bars | Lines"

_MAX_CONCURRENCY = 10
_POLLING = Polling(first=0.5, minimum=0.5, maximum=1.0, rate=100.0)
_SPEEDS = 8  # the number of different integration speeds
# Each entry is (N, offset, final status): every Nth tenant fails, starting at the offset.
_FAILURES = (
    (20, 7, "Failed (Integration Issue)"),
    (50, 11, "Failed (Timeout)"),
    (80, 33, "Failed (Refresh)"),
)


@attrs.frozen
class Size:
    """The number of tenants, integrations and syncs."""

    tenants: int
    integrations: int
    syncs: int


@attrs.frozen
class Report:
    """
    The results of a demo.

    :param size: the size of the demo.
    :param listed: the number of tenants in the listing.
    :param list_seconds: the duration of the listing, in seconds.
    :param results: the result of each run.
    :param requests: the number of requests that the emulator received and the number of 404s.
    :param seconds: the duration of the whole demo, in seconds.
    """

    size: Size
    listed: int
    list_seconds: float
    results: list[RunResult]
    requests: tuple[int, int]
    seconds: float

    def outcomes(self) -> Rows:
        """Return the number of runs per final status, most frequent first."""
        counts = Counter(map(_final_status, self.results))
        return [(status, str(number)) for status, number in counts.most_common()]

    def figures(self) -> Rows:
        """Return the names and values of the measurements."""
        total, not_found = self.requests
        return [
            ("requests sent", str(total)),
            ("404 responses", str(not_found)),
            ("seconds", f"{self.seconds:.1f}"),
            ("tenants per second", f"{self.listed / self.list_seconds:.0f}"),
        ]

    def is_complete(self) -> bool:
        """Return whether all tenants were listed and all runs finished."""
        ended = [result for result in self.results if result.error is None]
        return self.listed == self.size.tenants and len(ended) == self.size.syncs


def _final_status(result: RunResult) -> str:
    status, error = result.status, result.error
    return type(error).__name__ if status is None else status.status


class Bars:
    """A display for terminals, with a progress bar for each stage."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}")
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str, total: int) -> Callable[[], None]:
        """Add a bar for a stage and return a function to call after each step."""
        return partial(self._progress.advance, self._progress.add_task(stage, total=total))

    def table(self, title: str, rows: Rows) -> None:
        """Print a table."""
        table = Table(title, "")
        table.columns[1].justify = "right"
        for row in rows:
            table.add_row(*row)
        self._progress.console.print(table)


class Lines:
    """A display for pipes and files, with a line of text for each completed stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.flush()

    def begin(self, stage: str, total: int) -> Callable[[], None]:
        """Begin a stage and return a function to call after each step."""
        steps = count(1)

        def advance() -> None:
            if next(steps) == total:
                self._write([f"{stage}: {total}"])

        return advance

    def table(self, title: str, rows: Rows) -> None:
        """Print a title and two aligned columns."""
        left, right = (max(map(len, column)) for column in zip(*rows, strict=True))
        body = (f"  {name:<{left}}  {number:>{right}}" for name, number in rows)
        self._write(["", title, *body])

    def _write(self, lines: Iterable[str]) -> None:
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()


def choose_display(stream: TextIO) -> Display:
    """Return progress bars if the stream supports them, otherwise plain lines."""
    console = Console(file=stream)
    return Bars(console) if can_animate(console) else Lines(stream)


def run(size: Size) -> int:
    """Run the demo, print its results to standard output and return the exit code."""
    # Bypass any proxy, which could not reach an emulator on the local machine.
    os.environ["no_proxy"] = "127.0.0.1"
    return run_coroutine(_run, size)


async def _run(size: Size) -> int:
    with choose_display(sys.stdout) as display:
        report = await _measure(size, display)
    display.table("Run outcomes", report.outcomes())
    display.table("Figures", report.figures())
    return 0 if report.is_complete() else 1


async def _measure(size: Size, display: Display) -> Report:
    start = time.perf_counter()
    emulator = create_emulator(size, display.begin("seeding tenants", size.tenants))
    async with emulator, AsyncPandium("demo", base_url=emulator.url) as client:
        list_start = time.perf_counter()
        tenants = await _list(client, display.begin("listing tenants", size.tenants))
        list_seconds = time.perf_counter() - list_start
        results = await _sync(client, tenants[: size.syncs], display)
    seconds = time.perf_counter() - start
    return Report(size, len(tenants), list_seconds, results, _count_requests(emulator), seconds)


def create_emulator(size: Size, advance: Callable[[], None]) -> Emulator:
    """
    Create an emulator with fast and slow integrations and some tenants whose runs fail.

    :param size: the number of tenants and integrations.
    :param advance: a function that is called after each tenant is added.
    """
    emulator = Emulator({"integrations": []})
    for index in range(size.integrations):
        integration = emulator.add_integration(f"integration-{index + 1}")
        _add_script(emulator, index, "Succeeded", integration=integration.id)
    for index in range(size.tenants):
        integration_index = index % size.integrations
        tenant = emulator.add_tenant(f"tenant-{index + 1}", integration_id=integration_index + 1)
        if (failure := _failure_status(index)) is not None:
            _add_script(emulator, integration_index, failure, tenant=tenant.id)
        advance()
    return emulator


def _add_script(
    emulator: Emulator, integration_index: int, final_status: str, **target: int
) -> None:
    speed = integration_index % _SPEEDS
    phases = (("Pending", 0.3), ("Running", 0.4 + 0.5 * speed), (final_status, 0.0))
    emulator.runs.script(appears_after=0.6 + 0.3 * speed, phases=phases, **target)


def _failure_status(index: int) -> str | None:
    return next((status for every, offset, status in _FAILURES if index % every == offset), None)


async def _list(client: AsyncPandium, advance: Callable[[], None]) -> list[Tenant]:
    tenants: list[Tenant] = []
    async for tenant in client.tenants.list():
        tenants.append(tenant)
        advance()
    return tenants


async def _sync(client: AsyncPandium, tenants: list[Tenant], display: Display) -> list[RunResult]:
    on_triggered = display.begin("triggering syncs", len(tenants))
    on_ended = display.begin("waiting for runs", len(tenants))
    send, receive = anyio.create_memory_object_stream[Trigger](len(tenants))
    collected: list[RunResult] = []
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(_trigger_all, client, tenants, send, on_triggered)
        async with client.runs.as_completed(receive, poll=_POLLING) as results:
            async for result in results:
                collected.append(result)
                on_ended()
    return collected


async def _trigger_all(
    client: AsyncPandium,
    tenants: list[Tenant],
    send: MemoryObjectSendStream[Trigger],
    on_triggered: Callable[[], None],
) -> None:
    queue = iter(tenants)

    async def work() -> None:
        for tenant in queue:
            await send.send(await client.tenants.sync(tenant.id, mode="normal"))
            on_triggered()

    async with send, anyio.create_task_group() as tasks:
        for _ in range(_MAX_CONCURRENCY):
            tasks.start_soon(work)


def _count_requests(emulator: Emulator) -> tuple[int, int]:
    counts = emulator.counts
    not_found = sum(number for (_, _, status), number in counts.items() if status == 404)  # noqa: PLR2004 - the HTTP status
    return sum(counts.values()), not_found
