"""Listings from an emulator whose tenants change while they are read."""

from __future__ import annotations

import json
import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandium import AsyncPandium, DecodeError, DriftError, NotFound
from support import KEY
from support.servers import Misbehaving, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from pandium.emulator import Emulator
    from pandium.models import Tenant

pytestmark = pytest.mark.anyio

EXAMPLES = 400 if os.environ.get("PANDIUM_LONG") else 12


@asynccontextmanager
async def interfering_client(
    emulator: Emulator, interfere: Callable[[int], Awaitable[None]]
) -> AsyncIterator[AsyncPandium]:
    """Yield a client that calls ``interfere`` with the index of each request before sending it."""
    index = 0

    async def before_request(_: httpx.Request) -> None:
        nonlocal index
        index += 1
        await interfere(index - 1)

    async with (
        httpx.AsyncClient(event_hooks={"request": [before_request]}) as http,
        AsyncPandium(KEY, base_url=emulator.url, http_client=http) as client,
    ):
        yield client


async def plain_loop(client: AsyncPandium, integration_id: int) -> list[int]:
    """Read pages by ``skip`` and ``limit`` until one is short, without using this library."""
    seen: list[int] = []
    while True:
        params = {"integration_id": integration_id, "skip": len(seen), "limit": 100}
        page: Any = await client.request("GET", "/v2/tenants", params=params)
        seen.extend(tenant["id"] for tenant in page)
        if len(page) < 100:
            return seen


async def listing_loop(client: AsyncPandium, integration_id: int) -> list[int]:
    listing = client.tenants.list(integration_id=integration_id, page_size=100)
    return [tenant.id async for tenant in listing]


@pytest.mark.parametrize(("walk", "is_complete"), [(plain_loop, False), (listing_loop, True)])
async def test_archiving_hides_none_of_five_thousand_tenants(
    emulator: Emulator,
    walk: Any,
    *,
    is_complete: bool,
) -> None:
    """If two tenants are archived per page, a plain loop misses some, but a listing does not."""
    listed = [emulator.add_tenant().id for _ in range(5000)]
    pick = random.Random(7)

    async def archive_two(_: int) -> None:
        for _ in range(2):
            emulator.archive_tenant(listed.pop(pick.randrange(len(listed))))

    async with interfering_client(emulator, archive_two) as client:
        seen = await walk(client, 1)
    assert len(seen) == len(set(seen))
    assert (set(listed) <= set(seen)) is is_complete
    assert [number for number in seen if number in set(listed)] == sorted(set(seen) & set(listed))


@attrs.frozen
class Change:
    """
    A change by another client.

    :ivar position: the position of the tenant to change, as a fraction of the listing.
    :ivar name: a number for the name of a tenant to add.
    """

    kind: str
    position: float
    name: int


CHANGES = st.builds(
    Change, st.sampled_from(["add", "archive", "touch"]), st.floats(0, 0.99), st.integers(0, 10**6)
)


@attrs.define
class Registry:
    """
    An integration's tenants, which change according to a script before each request.

    :ivar other_client: the client that changes the tenants.
    :ivar listed: the ids of the tenants that are not archived.
    :ivar always_listed: the ids of the tenants that have been listed since the first request.
    """

    emulator: Emulator
    other_client: AsyncPandium
    script: Sequence[Sequence[Change]]
    integration_id: int = 0
    listed: list[int] = attrs.field(factory=list)
    always_listed: set[int] = attrs.field(factory=set)

    def fill(self, names: Sequence[int]) -> None:
        self.integration_id = self.emulator.add_integration().id
        for name in names:
            self.add(name)
        self.always_listed = set(self.listed)

    def add(self, name: int) -> None:
        number = len(self.emulator.tenants)
        tenant = self.emulator.add_tenant(
            f"t{name:07}-{number}", integration_id=self.integration_id
        )
        self.listed.append(tenant.id)

    async def interfere(self, index: int) -> None:
        for change in self.script[index - 1] if 0 < index <= len(self.script) else ():
            position = int(change.position * len(self.listed))
            if change.kind == "add" or not self.listed:
                self.add(change.name)
            elif change.kind == "archive":
                tenant_id = self.listed.pop(position)
                self.always_listed.discard(tenant_id)
                self.emulator.archive_tenant(tenant_id)
            else:
                await self.other_client.tenants.update(
                    self.listed[position], paused=change.name % 2 == 0
                )

    def expected_ids(self, sort_by: str | None) -> list[int]:
        """Return the ids of the tenants that were always listed, in the API's order."""
        tenants = [self.emulator.tenant(tenant_id) for tenant_id in sorted(self.always_listed)]
        field, _, direction = (sort_by or "id__ASC").rpartition("__")
        tenants.sort(key=lambda tenant: getattr(tenant, field), reverse=direction == "DESC")
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
    # The examples share the emulator. Each one adds its own integration.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_tenants_that_are_always_listed_are_delivered_exactly_once(
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
    """Changes to other tenants do not affect tenants that are listed throughout."""
    registry = Registry(emulator, client, script)
    registry.fill(names)
    async with interfering_client(emulator, registry.interfere) as walker:
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
    expected = registry.expected_ids(sort_by)
    assert [tenant_id for tenant_id in ids if tenant_id in registry.always_listed] == expected


async def test_a_loop_may_archive_each_tenant(emulator: Emulator, client: AsyncPandium) -> None:
    """A loop that archives every tenant it reads archives all of them."""
    for _ in range(300):
        emulator.add_tenant()
    async for tenant in client.tenants.list(page_size=20):
        await client.tenants.archive(tenant.id)
    assert all(tenant.archived for tenant in emulator.tenants)
    assert await client.tenants.list().to_list() == []


async def test_updating_the_sort_field_does_not_keep_a_walk_running(
    emulator: Emulator, client: AsyncPandium
) -> None:
    """If each tenant moves to the end after it is read, none is read twice and the walk ends."""
    added = {emulator.add_tenant().id for _ in range(100)}
    seen: list[int] = []
    with pytest.raises(DriftError):
        async for tenant in client.tenants.list(sort_by="modified_date__ASC", page_size=10):
            seen.append(tenant.id)
            await client.tenants.update(tenant.id, paused=not tenant.paused)
    assert len(seen) == len(set(seen))
    assert len(added - set(seen)) < 10


@pytest.mark.parametrize(
    ("maximum", "confirm_end"), [(20, "auto"), (100, "auto"), (251, "auto"), (7, True), (249, True)]
)
async def test_a_server_with_a_lower_page_maximum_hides_no_tenant(
    emulator: Emulator, client: AsyncPandium, maximum: int, confirm_end: Literal["auto", True]
) -> None:
    """If pages are shorter than requested, every tenant is still delivered, in order."""
    expected = [emulator.add_tenant().id for _ in range(521)]
    emulator.page_limit = maximum
    tenants = client.tenants.list(confirm_end=confirm_end)
    assert [tenant.id async for tenant in tenants] == expected


async def test_not_found_is_not_an_empty_listing(client: AsyncPandium) -> None:
    """Listing an unknown tenant's runs is an error. A listing without records is empty."""
    with pytest.raises(NotFound) as caught:
        await client.tenants.runs(99).to_list()
    assert caught.value.resume_skip == 0
    assert await client.tenants.list().to_list() == []


@pytest.mark.parametrize("prefetch", [1, 4])
async def test_not_found_on_a_later_page_is_an_error(prefetch: int) -> None:
    """If the second page is not found, the listing has failed, not ended."""
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


# Records as dictionaries

RAW = {"id": 1, "name": "acme", "new_field": {"a": [1]}, "modified_date": "2026-01-01T00:00:00Z"}


async def test_raw_records_have_every_field_that_was_sent() -> None:
    """`raw()` delivers each record as the dictionary that the API sent, unchanged."""
    with Misbehaving(otherwise=status("200 OK", json.dumps([RAW]).encode())) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            listing = client.tenants.list(limit=1).raw()
            assert await listing.to_list() == [RAW]
            assert await listing.first() == await listing.raw().first() == RAW
            assert await client.integrations.list(limit=1).raw().to_list() == [RAW]
            assert await client.tenants.runs(7, limit=1).raw().to_list() == [RAW]


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b"{}", ""),
        (b"", ""),
        (b"<html>", ""),
        (b"[[]]", "[0]"),
        (b'[{"id": 1}, {}]', "[1].id"),
        (b'[{"id": null}]', "[0].id"),
        (b'[{"id": [1]}]', "[0].id"),
        (b'[{"id": true}]', "[0].id"),
        (b'[{"id": 7.0}, {"id": NaN}]', "[1].id"),
        (b'[{"id": 9007199254740992.0}]', "[0].id"),
        (b'[{"id": -Infinity}]', "[0].id"),
        (b'[{"id": ' + b"9" * 5000 + b"}]", "[0].id"),
    ],
)
async def test_raw_records_must_be_objects_with_an_id(content: bytes, path: str) -> None:
    """A response that is not a list of objects with ids is a DecodeError with its path."""
    with Misbehaving(otherwise=status("200 OK", content)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with pytest.raises(DecodeError) as caught:
                await client.tenants.list().raw().to_list()
    assert (caught.value.path, caught.value.resume_skip) == (path, 0)


async def test_raw_records_are_complete_while_tenants_change(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """A raw listing is as complete and as concurrent as one of models, with the same options."""
    for _ in range(300):
        emulator.add_tenant()
    emulator.drift.before("tenants.list", emulator.drift.archive(3), after=2, times=3)
    raw = client.tenants.list(page_size=20, sort_by="id__ASC").raw()
    seen = [tenant["id"] async for tenant in raw]
    assert len(seen) == len(set(seen))
    left = [tenant.id for tenant in emulator.tenants if not tenant.archived]
    assert len(left) < 300
    assert set(left) <= set(seen)
    async with raw.stream(prefetch=2) as items:
        assert [item["id"] async for item in items] == left
    assert (raw.page_size, raw.prefetch) == (20, 8)
