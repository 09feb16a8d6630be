"""Listings of an emulator on a socket, which changes while they are read."""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandium import AsyncPandium, DriftError, NotFound
from support import KEY
from support.servers import Misbehaving, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from pandium.emulator import Emulator
    from pandium.models import Tenant

pytestmark = pytest.mark.anyio

EXAMPLES = 400 if os.environ.get("PANDIUM_LONG") else 12


@asynccontextmanager
async def disturbed(
    emulator: Emulator, disturb: Callable[[int], Awaitable[None]]
) -> AsyncIterator[AsyncPandium]:
    """Give a client at whose requests something else happens, too: `disturb` gets their number."""
    number = 0

    async def before(_: httpx.Request) -> None:
        nonlocal number
        number += 1
        await disturb(number - 1)

    async with (
        httpx.AsyncClient(event_hooks={"request": [before]}) as http,
        AsyncPandium(KEY, base_url=emulator.url, http_client=http) as client,
    ):
        yield client


async def plain_loop(client: AsyncPandium, integration_id: int) -> list[int]:
    """List as one would without this library: skip, limit, until a page comes short."""
    seen: list[int] = []
    while True:
        params = {"integration_id": integration_id, "skip": len(seen), "limit": 100}
        page: Any = await client.request("GET", "/v2/tenants", params=params)
        seen.extend(tenant["id"] for tenant in page)
        if len(page) < 100:
            return seen


async def our_loop(client: AsyncPandium, integration_id: int) -> list[int]:
    listing = client.tenants.list(integration_id=integration_id, page_size=100)
    return [tenant.id async for tenant in listing]


@pytest.mark.parametrize(("walk", "is_complete"), [(plain_loop, False), (our_loop, True)])
async def test_archiving_hides_no_survivor_of_five_thousand(
    emulator: Emulator,
    walk: Any,
    *,
    is_complete: bool,
) -> None:
    """With two archived a page, a plain loop misses survivors without a word; ours misses none."""
    listed = [emulator.add_tenant().id for _ in range(5000)]
    pick = random.Random(7)

    async def archive_two(_: int) -> None:
        for _ in range(2):
            emulator.archive_tenant(listed.pop(pick.randrange(len(listed))))

    async with disturbed(emulator, archive_two) as client:
        seen = await walk(client, 1)
    assert len(seen) == len(set(seen))
    assert (set(listed) <= set(seen)) is is_complete
    assert [one for one in seen if one in set(listed)] == sorted(set(seen) & set(listed))


@attrs.frozen
class Change:
    """Something that somebody else does: to a record of the listing, by its place, or a new one."""

    kind: str
    place: float
    name: int


CHANGES = st.builds(
    Change, st.sampled_from(["add", "archive", "touch"]), st.floats(0, 0.99), st.integers(0, 10**6)
)


@attrs.define
class Registry:
    """The tenants of one integration, in which a script of changes happens before requests."""

    emulator: Emulator
    other: AsyncPandium
    script: Sequence[Sequence[Change]]
    integration_id: int = 0
    listed: list[int] = attrs.field(factory=list)
    all_the_while: set[int] = attrs.field(factory=set)

    def fill(self, names: Sequence[int]) -> None:
        self.integration_id = self.emulator.add_integration().id
        for name in names:
            self.add(name)
        self.all_the_while = set(self.listed)

    def add(self, name: int) -> None:
        number = len(self.emulator.tenants)
        tenant = self.emulator.add_tenant(f"t{name:07}-{number}", self.integration_id)
        self.listed.append(tenant.id)

    async def disturb(self, number: int) -> None:
        for change in self.script[number - 1] if 0 < number <= len(self.script) else ():
            place = int(change.place * len(self.listed))
            if change.kind == "add" or not self.listed:
                self.add(change.name)
            elif change.kind == "archive":
                tenant_id = self.listed.pop(place)
                self.all_the_while.discard(tenant_id)
                self.emulator.archive_tenant(tenant_id)
            else:
                await self.other.tenants.update(self.listed[place], paused=change.name % 2 == 0)

    def order(self, sort_by: str | None) -> list[int]:
        """Give the ids in the order of the API."""
        tenants = [self.emulator.tenant(one) for one in sorted(self.all_the_while)]
        field, _, direction = (sort_by or "id__ASC").rpartition("__")
        tenants.sort(key=lambda one: getattr(one, field), reverse=direction == "DESC")
        return [tenant.id for tenant in tenants]


@given(
    names=st.lists(st.integers(0, 10**6), max_size=70),
    script=st.lists(st.lists(CHANGES, max_size=4), max_size=30),
    page_size=st.one_of(st.integers(2, 9), st.sampled_from([50, 500])),
    prefetch=st.integers(1, 16),
    sort_by=st.sampled_from([None, "id__DESC", "name__ASC", "name__DESC"]),
    is_streamed=st.booleans(),
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The emulator is shared by the examples: each has an integration of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_tenants_listed_all_the_while_come_exactly_once(
    emulator: Emulator,
    client: AsyncPandium,
    *,
    names: list[int],
    script: list[list[Change]],
    page_size: int,
    prefetch: int,
    sort_by: str | None,
    is_streamed: bool,
) -> None:
    """Whatever is added, archived or changed meanwhile, who is listed all the while comes once."""
    registry = Registry(emulator, client, script)
    registry.fill(names)
    async with disturbed(emulator, registry.disturb) as walker:
        listing = walker.tenants.list(
            integration_id=registry.integration_id,
            sort_by=sort_by,
            page_size=page_size,
            prefetch=prefetch,
        )
        seen: list[Tenant] = []
        if is_streamed:
            async with listing.stream() as items:
                async for tenant in items:
                    seen.append(tenant)
        else:
            seen = await listing.to_list()
    ids = [tenant.id for tenant in seen]
    assert len(ids) == len(set(ids))
    assert [one for one in ids if one in registry.all_the_while] == registry.order(sort_by)


async def test_each_tenant_can_be_archived_as_it_comes(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """A loop that archives each tenant that it is given archives all of them."""
    for _ in range(300):
        emulator.add_tenant()
    async for tenant in client.tenants.list(page_size=20):
        await client.tenants.archive(tenant.id)
    assert all(tenant.archived for tenant in emulator.tenants)
    assert await client.tenants.list().to_list() == []


async def test_changing_what_it_is_sorted_by_does_not_keep_a_walk_going(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """Where each record moves to the end as it comes, none comes twice, and the walk ends."""
    wanted = {emulator.add_tenant().id for _ in range(100)}
    seen: list[int] = []
    with pytest.raises(DriftError):
        async for tenant in client.tenants.list(sort_by="modified_date__ASC", page_size=10):
            seen.append(tenant.id)
            await client.tenants.update(tenant.id, paused=not tenant.paused)
    assert len(seen) == len(set(seen))
    assert len(wanted - set(seen)) < 10


async def test_not_found_is_no_empty_listing(client: AsyncPandium) -> None:
    """The listing of what does not exist is an error; one of which nothing is listed is empty."""
    with pytest.raises(NotFound) as caught:
        await client.tenants.runs(99).to_list()
    assert caught.value.resume_skip == 0
    assert await client.tenants.list().to_list() == []


@pytest.mark.parametrize("prefetch", [1, 4])
async def test_not_found_on_a_later_page_is_an_error(prefetch: int) -> None:
    """A listing that is gone when its second page is asked for has not ended but failed."""
    page = b'[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]'
    gone = status("404 Not Found", b'{"message": "gone"}')
    seen = []
    with Misbehaving(status("200 OK", page), otherwise=gone) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with pytest.raises(NotFound) as caught:
                async for tenant in client.tenants.list(page_size=2, prefetch=prefetch):
                    seen.append(tenant.id)
    assert seen == [1, 2]
    assert caught.value.resume_skip == 2
