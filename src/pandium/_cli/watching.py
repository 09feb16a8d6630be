"""Show tenants and their runs as they change: a live table, or a line for each change."""

from __future__ import annotations

import io
import itertools
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Self

import anyio
import attrs
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pandium import RateLimited, ServerError, TransportError
from pandium._cli.options import setting
from pandium._cli.output.columns import current_phase, last_phase, runs_of, state_of
from pandium._cli.output.records import ChangeRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.table import Table
from pandium._cli.output.terminal import can_draw, note
from pandium._cli.session import run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from pandium import AsyncPandium
    from pandium.models import Tenant

__all__ = ["watch"]

_PASSING = (RateLimited, ServerError, TransportError)
_HEAD = 4  # lines that are no tenant's: the sum, the titles, how many more, and the cursor's


@attrs.frozen
class _Subject:
    """What to watch, and how often."""

    tenant_ids: frozenset[int]
    integration_id: int | None
    every: float
    count: int | None

    def polls(self) -> Iterable[int]:
        """Count the looks from 0, for ever if no number of them is given."""
        return itertools.count() if self.count is None else range(self.count)

    async def look(self, client: AsyncPandium) -> list[Tenant]:
        """List the tenants that are watched."""
        listing = client.tenants.list(integration_id=self.integration_id)
        wanted = self.tenant_ids
        return [one async for one in listing if not wanted or one.id in wanted]


def watch(
    tenant_ids: frozenset[int], integration_id: int | None, every: float, count: int | None
) -> int:
    """Look at tenants again and again."""
    subject = _Subject(tenant_ids, integration_id, every, count)
    return run(partial(_watch, subject))


async def _watch(subject: _Subject, client: AsyncPandium) -> int:
    form = setting("format")
    is_drawn = can_draw(sys.stdout) and form in (None, "table")
    with _Screen() if is_drawn else _Lines(form or "table") as view:
        for number in subject.polls():
            if number:
                await anyio.sleep(subject.every)
            try:
                found = await subject.look(client)
            except _PASSING as error:
                if not number:
                    raise
                note(f"no news: {error}")
            else:
                view.show(found)
                if not found and not number:
                    note("nothing found")
    return 0


class _Screen:
    """A table that is drawn anew, cropped to the terminal; what runs is at its top."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, tenants: list[Tenant]) -> None:
        """Draw the tenants."""
        first = sorted(tenants, key=lambda one: not current_phase(one))
        running = sum(bool(current_phase(one)) for one in tenants)
        now = datetime.now().astimezone()
        head = f"{now:%H:%M:%S}  {len(tenants)} tenants, {running} of them running\n"
        self._live.update(Text((head + self._table(first)).rstrip(), no_wrap=True), refresh=True)

    def _table(self, tenants: list[Tenant]) -> str:
        drawn, room = io.StringIO(), max(1, self._console.height - _HEAD)
        Table("Tenant", drawn, self._console.width - len("^C")).write(tenants[:room])
        hidden = len(tenants) - room
        return drawn.getvalue() + (f"and {hidden} more" if hidden > 0 else "")


class _Lines:
    """A line for each tenant at the first look, and for each change later."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._known: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._writer = create_writer("ChangeRow", self._form, sys.stdout)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self._writer.close()

    def show(self, tenants: list[Tenant]) -> None:
        """Write what is news."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for tenant in tenants:
            seen = (state_of(tenant), runs_of(tenant))
            if self._known.get(tenant.id) != seen:
                self._known[tenant.id] = seen
                self._writer.write([_change_of(tenant, now)])
        sys.stdout.flush()


def _change_of(tenant: Tenant, now: str) -> ChangeRow:
    state, running, last = state_of(tenant), current_phase(tenant), last_phase(tenant)
    return ChangeRow(now, tenant.id, tenant.name, state, running, last)
