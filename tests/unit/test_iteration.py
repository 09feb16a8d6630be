"""Synchronous listings and results deliver each item once, and leave nothing running."""

from __future__ import annotations

import copy
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from pandium import Pandium, PandiumError, Polling, Retry, SyncListing
from pandium.emulator import Latency, Status
from support import KEY
from support.servers import Misbehaving, stall_before_the_answer
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium.emulator import Emulator
    from pandium.models import Tenant

COUNT = 95
FAST = Polling(first=0.02, minimum=0.02, maximum=0.02, rate=1000)


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Pandium]:
    for _ in range(COUNT):
        emulator.add_tenant()
    with Pandium(KEY, base_url=emulator.url, retry=Retry.never()) as open_client:
        yield open_client


@pytest.fixture
def listing(client: Pandium) -> SyncListing[Tenant]:
    return client.tenants.list(page_size=10)


def ids_of(tenants: Iterator[Tenant] | SyncListing[Tenant]) -> list[int]:
    return [tenant.id for tenant in tenants]


ALL = list(range(1, COUNT + 1))


def test_every_record_is_delivered_once_and_in_order(listing: SyncListing[Tenant]) -> None:
    """An iteration yields every record, and each iteration starts anew."""
    assert ids_of(listing) == ids_of(listing) == ALL
    assert [tenant.id for page in listing.pages() for tenant in page.items] == ALL
    assert [tenant.id for tenant in listing.to_list()] == ALL
    assert [record["id"] for record in listing.raw()] == ALL
    with listing.stream(prefetch=1) as tenants:
        assert ids_of(tenants) == ALL
    first = listing.first()
    assert first is not None
    assert first.id == 1


def test_an_empty_listing_yields_nothing(client: Pandium) -> None:
    """An empty listing has no records, pages or first record, and an iterator stays at its end."""
    listing = client.tenants.list(user_name="nobody")
    assert (listing.to_list(), listing.first(), list(listing.pages())) == ([], None, [])
    records = iter(listing)
    assert [next(records, None), next(records, None)] == [None, None]


def test_a_listing_shows_its_arguments(client: Pandium) -> None:
    """A synchronous listing has the same attributes as an asynchronous one."""
    listing = client.tenants.list(limit=7, page_size=3, skip=2, prefetch=4, on_drift="raise")
    arguments = "limit=7, page_size=3, skip=2, prefetch=4, on_drift='raise', confirm_end='auto'"
    assert repr(listing) == f"SyncListing({arguments})"
    assert ids_of(listing) == [3, 4, 5, 6, 7, 8, 9]


def test_nothing_is_requested_before_the_iteration(
    emulator: Emulator, listing: SyncListing[Tenant]
) -> None:
    """Creating a listing, an iterator or a stream sends nothing."""
    iter(listing)
    listing.pages()
    with listing.stream():
        pass
    assert len(emulator.requests) == 0
    with pytest.raises(ValueError, match="prefetch"):
        listing.stream(prefetch=0)


def test_pages_are_requested_while_the_program_works(
    emulator: Emulator, listing: SyncListing[Tenant]
) -> None:
    """Without further calls, an iteration requests as many pages in advance as ``prefetch``."""
    records = iter(listing)
    assert next(records).id == 1
    wait_until(lambda: len(emulator.requests) == 1 + listing.prefetch)
    assert ids_of(records) == ALL[1:]


def test_a_record_needs_no_call_to_the_event_loop(listing: SyncListing[Tenant]) -> None:
    """The records of a page are delivered even if the event loop is busy."""
    records = iter(listing)
    next(records)
    loop = records._loop  # type: ignore[attr-defined]  # a private attribute
    busy, release = threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        assert release.wait(10)

    loop.post(block)
    assert busy.wait(10)
    # The last of ten records is held back until the next page has arrived.
    assert ids_of(islice(records, 8)) == ALL[1:9]
    release.set()


def test_records_before_an_error_are_delivered(
    emulator: Emulator, listing: SyncListing[Tenant]
) -> None:
    """Pages that arrived before an error are delivered, and the error says where to continue."""
    emulator.faults.add("tenants.list", Status(500), after=3)
    seen: list[int] = []
    with pytest.raises(PandiumError) as caught:
        for tenant in listing:
            seen.append(tenant.id)
    assert seen == ALL[: len(seen)]
    assert caught.value.resume_skip == len(seen) > 0


def test_leaving_a_stream_cancels_its_requests() -> None:
    """Leaving the block closes all connections, and ends the wait of another thread."""
    with (
        Misbehaving(otherwise=stall_before_the_answer()) as server,
        Pandium(KEY, base_url=server.url) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with client.tenants.list().stream() as tenants:
            call = pool.submit(lambda: next(tenants))
            server.wait_until(lambda: server.seen == 1)
        server.wait_until(lambda: server.open == 0)
        with pytest.raises(RuntimeError, match="has exited"):
            call.result(10)


def test_breaking_out_of_a_loop_cancels_requests(
    emulator: Emulator, client: Pandium, listing: SyncListing[Tenant]
) -> None:
    """After ``break``, no further page is requested."""
    for tenant in listing:
        if tenant.id == 1:
            break
    gc.collect()
    client.tenants.metadata(1)  # everything that was posted before it has been done
    requests = len(emulator.requests)
    client.tenants.metadata(1)
    assert len(emulator.requests) == requests + 1


def test_a_closed_iterator_cannot_be_continued(listing: SyncListing[Tenant]) -> None:
    """An iterator whose block has been left raises an error instead of ending early."""
    with listing.stream() as tenants:
        next(tenants)
    with pytest.raises(RuntimeError, match="the iterator is closed"):
        next(tenants)


def test_an_interrupted_iteration_is_closed() -> None:
    """After Ctrl-C, an iterator raises an error instead of ending early."""
    with (
        Misbehaving(otherwise=stall_before_the_answer()) as server,
        Pandium(KEY, base_url=server.url) as client,
    ):
        records = iter(client.tenants.list())

        def interrupt() -> None:
            server.wait_until(lambda: server.seen == 1)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            next(records)
        server.wait_until(lambda: server.open == 0)
        with pytest.raises(RuntimeError, match="the iterator is closed"):
            next(records)


def test_several_threads_share_an_iterator(listing: SyncListing[Tenant]) -> None:
    """Each record is delivered to exactly one of the threads."""
    records = iter(listing)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: ids_of(records), range(8)))
    assert sorted(number for part in parts for number in part) == ALL


def test_no_thread_reaches_the_end_while_records_are_left(
    emulator: Emulator, client: Pandium
) -> None:
    """If several threads wait for the same page, each of them receives one of its records."""
    emulator.faults.add("tenants.list", Latency(0.2))
    records = iter(client.tenants.list(page_size=500, confirm_end=False))
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda _: next(records, None), range(8)))
    assert None not in first
    assert len({tenant.id for tenant in first if tenant is not None}) == 8


# Results


def test_results_are_delivered_as_they_arrive(emulator: Emulator, client: Pandium) -> None:
    """Each trigger has one result, and the progress can be read during and after the work."""
    triggers = [client.tenants.sync(number, mode="normal") for number in range(1, 9)]
    with client.runs.as_completed(triggers, poll=FAST) as results:
        assert iter(results) is results
        first = next(results)
        assert 1 <= results.progress.succeeded <= 8
        rest = list(results)
    found = sorted(int(result.trigger_id or 0) for result in [first, *rest])
    assert found == [int(trigger.trigger_id) for trigger in triggers]
    assert (results.progress.total, results.progress.succeeded) == (8, 8)
    assert results.progress == results.progress
    waited = client.runs.wait_all(iter(triggers), poll=FAST)
    assert [result.trigger_id for result in waited] == [one.trigger_id for one in triggers]


def test_leaving_the_block_stops_the_work(emulator: Emulator, client: Pandium) -> None:
    """After the block, no more polls are sent, and the results cannot be iterated over."""
    emulator.runs.script(appears_after=1000)
    trigger = client.tenants.sync(1, mode="normal")
    with client.runs.as_completed([trigger], poll=FAST) as results:
        wait_until(lambda: results.progress.polls > 1)
    polls = results.progress.polls
    client.tenants.metadata(1)
    assert results.progress.polls == polls
    with pytest.raises(RuntimeError):
        next(results)


def test_an_error_of_the_source_follows_the_results(client: Pandium) -> None:
    """An error that a generator of triggers raises is re-raised after the preceding results."""

    def triggers() -> Iterator[object]:
        yield client.tenants.sync(1, mode="normal")
        raise LookupError("no more")

    seen = 0
    with (
        pytest.raises(LookupError, match="no more"),
        client.runs.as_completed(triggers(), poll=FAST) as results,  # type: ignore[arg-type]  # objects
    ):
        for _ in results:
            seen += 1
    assert seen == 1


class HandlerError(Exception):
    """The error that a signal handler raises."""


@pytest.mark.posix
def test_an_error_that_an_interruption_hides_is_raised_next(client: Pandium) -> None:
    """If a signal handler raises while an error arrives, the next step raises that error."""
    interrupting, first = threading.Event(), list[object]()

    def triggers() -> Iterator[object]:
        yield client.tenants.sync(1, mode="normal")
        wait_until(lambda: bool(first) and results._fetching.locked())
        os.kill(os.getpid(), signal.SIGUSR1)
        assert interrupting.wait(10)
        raise LookupError("no more")

    def handle(*_: object) -> None:
        interrupting.set()
        wait_until(lambda: results._failure is not None)
        raise HandlerError

    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        with client.runs.as_completed(triggers(), poll=FAST) as results:  # type: ignore[arg-type]  # objects
            first.append(next(results))
            with pytest.raises(HandlerError):
                list(results)
            with pytest.raises(LookupError, match="no more"):
                list(results)
            assert list(results) == []
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_several_threads_share_results(emulator: Emulator, client: Pandium) -> None:
    """Each result is delivered to exactly one of the threads."""
    results = client.tenants.sync_all(ALL, mode="normal", poll=FAST, max_concurrency=50)
    with results, ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: [one.tenant_id for one in results], range(4)))
    assert sorted(number or 0 for part in parts for number in part) == ALL


def test_closing_the_client_ends_an_open_block(emulator: Emulator, client: Pandium) -> None:
    """If the client is closed inside the block, leaving it is not an error."""
    emulator.runs.script(appears_after=1000)
    trigger = client.tenants.sync(1, mode="normal")
    with client.runs.as_completed([trigger]) as results:
        client.close()
        with pytest.raises(PandiumError, match="the client is closed"):
            next(results)


def test_invalid_results_blocks_are_clear_errors(client: Pandium) -> None:
    """Iterating outside the block, and entering it twice, are errors."""
    results = client.runs.as_completed([])
    with pytest.raises(RuntimeError):
        next(results)
    with results, pytest.raises(RuntimeError, match="already been entered"):
        results.__enter__()


@pytest.mark.parametrize("owner", ["this", "other"])
def test_a_listing_is_a_source_of_tenants(emulator: Emulator, client: Pandium, owner: str) -> None:
    """A listing of this client or of another one can be passed to ``sync_all``."""
    with Pandium(KEY, base_url=emulator.url) as other:
        source = (client if owner == "this" else other).tenants.list(limit=5)
        with client.tenants.sync_all(source, mode="normal", poll=FAST) as results:
            assert sorted(result.tenant_id or 0 for result in results) == ALL[:5]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_deep_copy_of_an_iterator_fails_quietly(listing: SyncListing[Tenant]) -> None:
    """An iterator whose copy failed is deleted without an error."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.deepcopy(iter(listing))
    gc.collect()
