"""Print the log of each failed run, shortened, under its tenant's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs

from pandium import NotFound, PandiumError
from pandium._cli.output.terminal import write_block
from pandium._run_log import shorten_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandium import AsyncPandium, RunResult
    from pandium.models import Run

__all__ = ["LogPrinter"]

_MAX_CONCURRENCY = 10


@attrs.define
class LogPrinter:
    """
    A printer for the logs of failed runs.

    :ivar tenant_ids: the tenants whose runs are searched for a trigger whose tenant is unknown. If
        empty, all tenants are searched.
    """

    tenant_ids: Sequence[int] = ()
    _names: dict[int, str] = attrs.field(factory=dict, init=False)
    _printed: set[int] = attrs.field(factory=set, init=False)

    async def print_logs(self, client: AsyncPandium, failed: Sequence[RunResult]) -> None:
        """Print the logs of failed runs to standard error, in the order of the results."""
        if not failed:
            return
        await self._read_names(client, failed)
        blocks = [""] * len(failed)
        limiter = anyio.CapacityLimiter(_MAX_CONCURRENCY)

        async def fetch(index: int) -> None:
            async with limiter:
                blocks[index] = await self._describe(client, failed[index])

        async with anyio.create_task_group() as tasks:
            for index in range(len(failed)):
                tasks.start_soon(fetch, index)
        for block in filter(None, blocks):
            write_block(block)

    async def _read_names(self, client: AsyncPandium, failed: Sequence[RunResult]) -> None:
        """Read the names of the tenants, or of all tenants if it is unknown which ones failed."""
        wanted = {result.tenant_id for result in failed} - {None} | set(self.tenant_ids)
        try:
            async for tenant in client.tenants.list():
                if not wanted or tenant.id in wanted:
                    self._names[tenant.id] = tenant.name
                if wanted and len(self._names) == len(wanted):
                    return
        except PandiumError as error:
            write_block(f"the names of the tenants could not be read: {error}")

    async def _describe(self, client: AsyncPandium, result: RunResult) -> str:
        """Return the text to print for a result, or an empty string if it was printed already."""
        try:
            found = await self._find_run(client, result)
        except PandiumError as error:
            return f"the run of trigger {result.trigger_id} could not be found: {error}"
        if found is None:
            return f"the run of trigger {result.trigger_id} was not found"
        tenant_id, run = found
        if run.id in self._printed:  # several triggers can be combined into one run
            return ""
        self._printed.add(run.id)
        status = "" if result.status is None else f": {result.status.status}"
        name = self._names.get(tenant_id, f"tenant {tenant_id}")
        title = f"--- {name} (tenant {tenant_id}), run {run.id}{status}"
        return f"{title}\n{await _fetch_log(client, run.id)}"

    async def _find_run(self, client: AsyncPandium, result: RunResult) -> tuple[int, Run] | None:
        searched = self.tenant_ids or self._names
        if result.tenant_id is not None:
            searched = (result.tenant_id,)
        for tenant_id in searched:
            run = await client.runs.find(result.trigger_id or "", tenant_id=tenant_id)
            if run is not None:
                return tenant_id, run
        return None


async def _fetch_log(client: AsyncPandium, run_id: int) -> str:
    try:
        log = await client.runs.log(run_id)
    except NotFound:
        return f"(no log yet; to read it later, run: pandium-api runs log {run_id})"
    except PandiumError as error:
        return f"(the log could not be read: {error})"
    end, omitted = shorten_log(log)
    if not omitted:
        return end or "(the log is empty)"
    more = f"({omitted} earlier lines omitted; to read all, run: pandium-api runs log {run_id})"
    return f"{more}\n{end}"
