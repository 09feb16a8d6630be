"""Run the `watch` command: poll tenants and show a live table or a row for each change."""

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

from pandium import DriftError, PandiumError
from pandium._cli.options import get_option
from pandium._cli.output.columns import current_phase, last_phase, tenant_runs, tenant_state
from pandium._cli.output.records import ChangeRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.table import Table
from pandium._cli.output.terminal import can_animate, note
from pandium._cli.session import run
from pandium._waiting.policy import is_transient

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from pandium import AsyncPandium
    from pandium.models import Tenant

__all__ = ["watch"]

# The live view also needs one line each for the summary, the column titles, the number of hidden
# tenants and the cursor.
_EXTRA_LINES = 4


@attrs.frozen
class _WatchOptions:
    """
    The tenants to watch and the polling settings.

    ``interval`` is in seconds. If ``count`` is ``None``, polling continues until the command is
    interrupted.
    """

    tenant_ids: frozenset[int]
    integration_id: int | None
    interval: float
    count: int | None

    def poll_numbers(self) -> Iterable[int]:
        """Return the numbers of the polls, starting at 0."""
        return itertools.count() if self.count is None else range(self.count)

    async def list_tenants(self, client: AsyncPandium) -> list[Tenant]:
        """Return the watched tenants."""
        listing = client.tenants.list(integration_id=self.integration_id)
        ids = self.tenant_ids
        return [tenant async for tenant in listing if not ids or tenant.id in ids]


def watch(
    tenant_ids: frozenset[int], integration_id: int | None, interval: float, count: int | None
) -> int:
    """
    Watch tenants and return the exit code.

    :param tenant_ids: the ids of the tenants to watch. If empty, all tenants are watched.
    :param integration_id: the id of the integration to watch, or ``None`` for all integrations.
    :param interval: the time between polls, in seconds.
    :param count: the number of polls, or ``None`` for no limit.
    """
    options = _WatchOptions(tenant_ids, integration_id, interval, count)
    return run(partial(_watch, options))


async def _watch(options: _WatchOptions, client: AsyncPandium) -> int:
    output_format = get_option("format")
    is_live = output_format in (None, "table") and can_animate(Console())
    with _LiveView() if is_live else _ChangeLog(output_format or "table") as view:
        for number in options.poll_numbers():
            if number:
                await anyio.sleep(options.interval)
            try:
                tenants = await options.list_tenants(client)
            except PandiumError as error:
                if not number or not (is_transient(error) or isinstance(error, DriftError)):
                    raise
                note(f"poll failed: {error}")
            else:
                view.show(tenants)
                if not tenants and not number:
                    note("nothing found")
    return 0


class _LiveView:
    """A table that is redrawn in place, with the running tenants first."""

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
        """Redraw the table."""
        running = sum(bool(current_phase(tenant)) for tenant in tenants)
        now = datetime.now().astimezone()
        summary = f"{now:%H:%M:%S}  {len(tenants)} tenants, {running} running\n"
        running_first = sorted(tenants, key=lambda tenant: not current_phase(tenant))
        text = (summary + self._draw_table(running_first)).rstrip()
        self._live.update(Text(text, no_wrap=True), refresh=True)

    def _draw_table(self, tenants: list[Tenant]) -> str:
        """Return the table as text, cropped to the terminal size."""
        buffer = io.StringIO()
        visible = max(1, self._console.height - _EXTRA_LINES)
        hidden, omitted = len(tenants) - visible, list[str]()
        table = Table("Tenant", buffer, self._console.width - len("^C"), omitted.extend)
        table.write(tenants[:visible])
        notes = [f"and {hidden} more"] if hidden > 0 else []
        notes += [f"columns omitted: {', '.join(omitted)}"] if omitted else []
        return buffer.getvalue() + "; ".join(notes)


class _ChangeLog:
    """Rows for pipes and files. The first poll prints every tenant, later polls only changes."""

    def __init__(self, output_format: str) -> None:
        self._output_format = output_format
        self._last_seen: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._writer = create_writer(
            "ChangeRow", self._output_format, sys.stdout, get_option("columns")
        )
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
        """Print a row for each tenant that has changed since the last poll."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for tenant in tenants:
            seen = (tenant_state(tenant), tenant_runs(tenant))
            if self._last_seen.get(tenant.id) != seen:
                self._last_seen[tenant.id] = seen
                self._writer.write([_change_row(tenant, now)])
        sys.stdout.flush()


def _change_row(tenant: Tenant, now: str) -> ChangeRow:
    return ChangeRow(
        at=now,
        tenant_id=tenant.id,
        name=tenant.name,
        state=tenant_state(tenant),
        running=current_phase(tenant),
        last_run=last_phase(tenant),
    )
