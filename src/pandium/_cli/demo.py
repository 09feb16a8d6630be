"""Walk, sync and wait against an emulator on this machine, for everybody to see."""

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
from pandium.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import TextIO

    from anyio.streams.memory import MemoryObjectSendStream

    from pandium.models import Tenant

__all__ = ["Bars", "Display", "Lines", "Report", "Size", "display_for", "run", "world"]

Rows: TypeAlias = "list[tuple[str, str]]"
Display: TypeAlias = "Bars | Lines"

_AT_ONCE = 10
_POLLING = Polling(first=0.5, minimum=0.5, maximum=1.0, rate=100.0)
_PACES = 8  # after so many integrations the delays begin anew
# One tenant in so many, which one of them, and how its runs end.
_FAILURES = (
    (20, 7, "Failed (Integration Issue)"),
    (50, 11, "Failed (Timeout)"),
    (80, 33, "Failed (Refresh)"),
)


@attrs.frozen
class Size:
    """How many tenants there are, of how many integrations, and how many of them to sync."""

    tenants: int
    integrations: int
    syncs: int


@attrs.frozen
class Report:
    """What the client did, with the requests as the emulator saw them: (number, 404s)."""

    size: Size
    walked: int
    walk_seconds: float
    completed: list[RunResult]
    requests: tuple[int, int]
    seconds: float

    def outcomes(self) -> Rows:
        """Count how the runs ended, by the vendor's word, the most frequent first."""
        words = Counter(map(_word, self.completed))
        return [(word, str(number)) for word, number in words.most_common()]

    def figures(self) -> Rows:
        """Give the figures with their names."""
        sent, missing = self.requests
        return [
            ("requests sent", str(sent)),
            ("404s seen", str(missing)),
            ("seconds", f"{self.seconds:.1f}"),
            ("tenants a second", f"{self.walked / self.walk_seconds:.0f}"),
        ]

    def is_complete(self) -> bool:
        """Tell whether every tenant was walked, and the end of every run seen."""
        ended = [one for one in self.completed if one.error is None]
        return self.walked == self.size.tenants and len(ended) == self.size.syncs


def _word(completed: RunResult) -> str:
    status, error = completed.status, completed.error
    return type(error).__name__ if status is None else status.status


class Bars:
    """A progress bar for each stage, on a terminal."""

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
        """Add a bar for a stage of so many steps, and give what to call after each of them."""
        return partial(self._progress.advance, self._progress.add_task(stage, total=total))

    def table(self, title: str, rows: Rows) -> None:
        """Draw a table."""
        table = Table(title, "")
        table.columns[1].justify = "right"
        for row in rows:
            table.add_row(*row)
        self._progress.console.print(table)


class Lines:
    """A plain line for each stage at its end, for pipes and files."""

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
        """Count the steps, and write the line after the last one."""
        steps = count(1)

        def advance() -> None:
            if next(steps) == total:
                self._write([f"{stage}: {total}"])

        return advance

    def table(self, title: str, rows: Rows) -> None:
        """Write the rows in two columns."""
        left, right = (max(map(len, column)) for column in zip(*rows, strict=True))
        body = (f"  {name:<{left}}  {number:>{right}}" for name, number in rows)
        self._write(["", title, *body])

    def _write(self, lines: Iterable[str]) -> None:
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()


def display_for(stream: TextIO, environ: Mapping[str, str]) -> Display:
    """Choose bars for a terminal that can draw them, and lines for everything else."""
    is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    return Lines(stream) if is_plain or not stream.isatty() else Bars(Console(file=stream))


def run(size: Size) -> int:
    """Run the demo on standard output, and give the exit code."""
    # The emulator is on this machine, where a proxy of the environment does not reach it.
    os.environ["no_proxy"] = "127.0.0.1"
    return anyio.run(_run, size)


async def _run(size: Size) -> int:
    with display_for(sys.stdout, os.environ) as display:
        report = await _show(size, display)
    display.table("Outcomes of the runs", report.outcomes())
    display.table("Figures", report.figures())
    return 0 if report.is_complete() else 1


async def _show(size: Size, display: Display) -> Report:
    began = time.perf_counter()
    emulator = world(size, display.begin("seeding tenants", size.tenants))
    async with emulator, AsyncPandium("demo", base_url=emulator.url) as client:
        walk_began = time.perf_counter()
        tenants = await _walk(client, display.begin("walking tenants", size.tenants))
        walk_seconds = time.perf_counter() - walk_began
        completed = await _sync(client, tenants[: size.syncs], display)
    seconds = time.perf_counter() - began
    return Report(size, len(tenants), walk_seconds, completed, _requests(emulator), seconds)


def world(size: Size, advance: Callable[[], None]) -> Emulator:
    """Make an emulator with integrations that differ in pace, and some tenants whose runs fail."""
    emulator = Emulator({"integrations": []})
    for number in range(size.integrations):
        integration = emulator.add_integration(f"integration-{number + 1}")
        _script(emulator, number, "Succeeded", integration=integration.id)
    for number in range(size.tenants):
        place = number % size.integrations
        tenant = emulator.add_tenant(f"tenant-{number + 1}", place + 1)
        if (word := _failure_of(number)) is not None:
            _script(emulator, place, word, tenant=tenant.id)
        advance()
    return emulator


def _script(emulator: Emulator, place: int, last: str, **whose: int) -> None:
    pace = place % _PACES
    phases = (("Pending", 0.3), ("Running", 0.4 + 0.5 * pace), (last, 0.0))
    emulator.runs.script(appears_after=0.6 + 0.3 * pace, phases=phases, **whose)


def _failure_of(number: int) -> str | None:
    return next((word for every, first, word in _FAILURES if number % every == first), None)


async def _walk(client: AsyncPandium, advance: Callable[[], None]) -> list[Tenant]:
    tenants: list[Tenant] = []
    async for tenant in client.tenants.list():
        tenants.append(tenant)
        advance()
    return tenants


async def _sync(client: AsyncPandium, tenants: list[Tenant], display: Display) -> list[RunResult]:
    triggered = display.begin("triggering syncs", len(tenants))
    ended = display.begin("waiting for runs", len(tenants))
    send, receive = anyio.create_memory_object_stream[Trigger](len(tenants))
    completed: list[RunResult] = []
    async with receive, anyio.create_task_group() as tasks:
        tasks.start_soon(_trigger_all, client, tenants, send, triggered)
        async with client.runs.as_completed(receive, poll=_POLLING) as done:
            async for one in done:
                completed.append(one)
                ended()
    return completed


async def _trigger_all(
    client: AsyncPandium,
    tenants: list[Tenant],
    send: MemoryObjectSendStream[Trigger],
    advance: Callable[[], None],
) -> None:
    queue = iter(tenants)

    async def work() -> None:
        for tenant in queue:
            await send.send(await client.tenants.sync(tenant.id, mode="normal"))
            advance()

    async with send, anyio.create_task_group() as tasks:
        for _ in range(_AT_ONCE):
            tasks.start_soon(work)


def _requests(emulator: Emulator) -> tuple[int, int]:
    counts = emulator.counts
    missing = sum(number for (_, _, status), number in counts.items() if status == 404)  # noqa: PLR2004 - Not Found
    return sum(counts.values()), missing
