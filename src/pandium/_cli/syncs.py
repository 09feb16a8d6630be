"""Ask for syncs of many tenants; then write the triggers, or wait for the runs."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from pandium import PandiumError
from pandium._background import Background
from pandium._cli.follow import (
    Follow,
    code_of,
    ending_of,
    followed,
    outcome_of_error,
    polling,
    time_limit,
    waiting_on,
)
from pandium._cli.options import setting
from pandium._cli.output.records import RunRow, TriggerRow
from pandium._cli.output.rows import create_writer
from pandium._cli.output.terminal import note
from pandium._cli.session import explaining, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from pandium import AsyncPandium

__all__ = ["Asking", "Wanted", "sync", "sync_and_wait", "sync_by_journal"]


@attrs.frozen
class Wanted:
    """Which tenants to sync, some or all of an integration, and how."""

    tenant_ids: list[int]
    integration_id: int | None
    mode: str
    payload: dict[str, Any] | None
    max_concurrency: int

    async def ids(self, client: AsyncPandium) -> AsyncIterator[int]:
        """Give the tenants; those of an integration as they are listed."""
        for tenant_id in self.tenant_ids:
            yield tenant_id
        if self.integration_id is not None:
            is_empty = True
            try:
                async for tenant in client.tenants.list(integration_id=self.integration_id):
                    is_empty = False
                    yield tenant.id
            except PandiumError as error:
                error.resume_skip = None  # it is not for a listing that somebody asked for
                raise
            if is_empty:
                # An error where there is none: else a slip of the pen would pass for success.
                await client.integrations.get(self.integration_id)


@attrs.define
class Asking:
    """
    The requests for syncs, and what is known of them.

    ``begun`` has the tenants whose turn came, ``open`` those of them whose answer did not. So many
    tenants as are wanted at once have a place; who is told of a trigger gives it back.
    """

    wanted: Wanted
    places: anyio.Semaphore = attrs.field(
        default=attrs.Factory(
            lambda self: anyio.Semaphore(self.wanted.max_concurrency), takes_self=True
        )
    )
    begun: dict[int, None] = attrs.field(factory=dict, init=False)
    open: dict[int, None] = attrs.field(factory=dict, init=False)
    is_listed: bool = attrs.field(default=False, init=False)

    async def ask_all(
        self,
        client: AsyncPandium,
        triggered: Callable[[TriggerRow], Awaitable[None]],
        failed: Callable[[int, Exception], None],
    ) -> None:
        """
        Ask for all syncs, and tell of each what became of it.

        :raises PandiumError: if the tenants cannot be listed, once all that were are asked for.
        """
        failure: PandiumError | None = None

        async def ask(tenant_id: int) -> None:
            mode, payload = self.wanted.mode, self.wanted.payload
            try:
                trigger = await client.tenants.sync(tenant_id, mode=mode, payload=payload)
            except (PandiumError, ValueError) as error:
                failed(tenant_id, error)
                self.places.release()
            else:
                await triggered(TriggerRow(tenant_id, trigger.trigger_id))
            # Not where it was cancelled: then nobody knows.
            del self.open[tenant_id]

        async with anyio.create_task_group() as tasks:
            try:
                async for tenant_id in self.wanted.ids(client):
                    await self.places.acquire()
                    self.begun[tenant_id] = self.open[tenant_id] = None
                    tasks.start_soon(ask, tenant_id)
                self.is_listed = True
            except PandiumError as error:
                failure = error
        if failure is not None:
            raise failure

    def left(self) -> list[str]:
        """Say of which tenants nobody knows whether they were synced, and which surely were not."""
        said = []
        if self.open:
            said.append(f"nobody knows whether these tenants were synced: {_joined(self.open)}")
        if rest := [one for one in self.wanted.tenant_ids if one not in self.begun]:
            said.append(f"these were not: {_joined(rest)}")
        if self.wanted.integration_id is not None and not self.is_listed:
            said.append(f"integration {self.wanted.integration_id} has more tenants")
        return said


def _joined(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def sync(wanted: Wanted) -> int:
    """Ask for syncs, and write the triggers."""
    asking = Asking(wanted)
    with explaining(asking.left):
        return run(partial(_write_triggers, asking))


async def _write_triggers(asking: Asking, client: AsyncPandium) -> int:
    writer = create_writer("TriggerRow", setting("format", "table"), sys.stdout)
    outcomes: Counter[str] = Counter()

    async def triggered(one: TriggerRow) -> None:
        outcomes["succeeded"] += 1
        asking.places.release()
        writer.write([one])
        sys.stdout.flush()

    def failed(tenant_id: int, error: Exception) -> None:
        outcomes[outcome_of_error(error)] += 1
        note(f"tenant {tenant_id}: {error}")

    await asking.ask_all(client, triggered, failed)
    writer.close()
    if not outcomes:
        note("there is nothing to sync")
    return code_of(outcomes)


def sync_and_wait(wanted: Wanted) -> int:
    """Ask for syncs, and wait for the runs."""
    asking = Asking(wanted)
    return followed(
        partial(_follow_syncs, asking),
        lambda triggers: [*waiting_on(triggers), *asking.left()],
    )


async def _follow_syncs(asking: Asking, client: AsyncPandium, follow: Follow) -> None:
    tenants: dict[str | None, int] = {}

    def failed(tenant_id: int, error: Exception) -> None:
        follow.end(RunRow(tenant_id, None, outcome_of_error(error), None, str(error), 0, 0.0))

    async def produce(send: Callable[[str], Awaitable[None]]) -> None:
        async def triggered(one: TriggerRow) -> None:
            tenants[one.trigger_id] = one.tenant_id
            follow.begin(one.trigger_id)
            await send(one.trigger_id)

        await asking.ask_all(client, triggered, failed)

    async with Background(produce, inf) as triggers:
        waits = client.runs.as_completed(triggers, timeout=time_limit(), poll=polling())
        async with waits as done:
            async for completed in done:
                asking.places.release()
                follow.end(ending_of(completed, tenants[completed.trigger_id]))


def sync_by_journal(wanted: Wanted, journal: str, *, retry_unknown: bool) -> int:
    """Ask for syncs and wait for the runs, with a journal of what was done."""
    return followed(
        partial(_follow_journal, wanted, journal, retry_unknown),
        lambda _: [f"the same command goes on, with --journal {shlex.quote(journal)}"],
    )


async def _follow_journal(
    wanted: Wanted,
    journal: str,
    retry_unknown: bool,  # noqa: FBT001 - given by position, through partial
    client: AsyncPandium,
    follow: Follow,
) -> None:
    """Write how the syncs of a journal end."""
    syncs = client.tenants.sync_all(
        wanted.ids(client),
        mode=wanted.mode,
        payload=wanted.payload,
        journal=journal,
        max_concurrency=wanted.max_concurrency,
        poll=polling(),
        timeout=time_limit(),
        retry_unknown=retry_unknown,
    )
    async with syncs as done:
        async for completed in done:
            follow.expect(done.progress.triggered)
            follow.end(ending_of(completed, completed.tenant_id))
