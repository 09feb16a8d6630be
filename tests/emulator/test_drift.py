"""Changes between the requests of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pandium import AsyncPandium, DriftError
from pandium.emulator import Emulator, RequestRule, Stall, Status
from support.emulating import Api, served

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = {"integrations": [{}], "tenants": [{"id": 100 + number} for number in range(6)]}


@pytest.fixture
def api() -> Iterator[Api]:
    with served(SEED) as running:
        yield running


def ids(api: Api, **query: Any) -> list[int]:
    return [one["id"] - 100 for one in api.json("/tenants", **query)]


def test_a_change_affects_this_response_or_the_next(api: Api) -> None:
    """A change before a request shows in its response, and one after it in the next one."""
    drift = api.emulator.drift
    before = drift.before("tenants.list", lambda: api.emulator.archive_tenant(100), times=1)
    after = drift.after("tenants.list", lambda: api.emulator.archive_tenant(101), times=1)
    assert ids(api) == [1, 2, 3, 4, 5]
    assert ids(api) == [2, 3, 4, 5]
    assert (before.hits, after.hits, len(drift)) == (1, 1, 0)


def test_options_select_the_requests_of_a_change(api: Api) -> None:
    """Only requests of the operation count towards `after`, `every` and `times`."""
    drift = api.emulator.drift
    drift.before("tenants.list", drift.archive(), after=1, every=2, times=2)
    seen = [api.json("/integrations") and len(ids(api)) for _ in range(6)]
    assert seen == [6, 6, 5, 5, 4, 4]


def test_a_change_is_repeated_until_it_is_removed(api: Api) -> None:
    """`remove` ends one change and `clear` ends all. The effects of past changes remain."""
    drift = api.emulator.drift
    one = drift.before("tenants.list", drift.archive())
    drift.after(None, drift.archive())
    assert [len(ids(api)) for _ in range(2)] == [5, 3]
    one.remove()
    assert [len(ids(api)) for _ in range(2)] == [2, 1]
    drift.clear()
    assert [len(ids(api)) for _ in range(2)] == [0, 0]


def test_archiving_takes_the_oldest_or_any_with_a_seed(api: Api) -> None:
    """Without a seed, the oldest tenants are archived, and with one always the same tenants."""
    drift = api.emulator.drift
    drift.archive(2)()
    assert ids(api) == [2, 3, 4, 5]
    drift.archive(2, seed=3)()
    left = ids(api)
    assert len(left) == 2
    with served(SEED) as other:
        other.emulator.drift.archive(2)()
        other.emulator.drift.archive(2, seed=3)()
        assert ids(other) == left
    drift.archive(9, seed=3)()
    drift.archive(9)()
    assert ids(api) == []


def test_inserting_adds_at_either_end(api: Api) -> None:
    """New tenants come last, or first as long as an id is available."""
    drift = api.emulator.drift
    drift.insert(2)()
    drift.insert(2, at_front=True)()
    assert ids(api) == [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7]
    with served() as empty:
        empty.emulator.drift.insert(at_front=True)()
        assert ids(empty) == [-99]


def test_resorting_changes_the_order_of_plain_listings(api: Api) -> None:
    """The order is reversed or replaced, and a listing with `sort_by` is not affected."""
    drift = api.emulator.drift
    api.emulator.archive_tenant(104)
    turn = drift.resort()
    for expected in ([5, 3, 2, 1, 0], [0, 1, 2, 3, 5]):
        turn()
        assert ids(api) == expected
    drift.resort("name__DESC")()
    assert ids(api) == [5, 3, 2, 1, 0]
    assert ids(api, sort_by="id__ASC", limit=2) == [0, 1]


def test_a_change_is_made_though_the_request_fails(api: Api) -> None:
    """This applies before a request that fails, and after one whose response is lost."""
    drift, faults = api.emulator.drift, api.emulator.faults
    before = drift.before("tenants.list", drift.archive())
    after = drift.after("tenants.list", drift.archive())
    faults.add("tenants.list", Status(503), times=1)
    faults.add("tenants.list", Status(503, after_work=True), times=1)
    for hits in ((1, 0), (2, 1)):
        assert api.http.get("/v2/tenants").status_code == 503
        assert (before.hits, after.hits) == hits
    assert len(ids(api)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_change_that_fails_names_its_place(
    api: Api, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is a 500 with the reason, which is also logged."""
    getattr(api.emulator.drift, moment)("tenants.list", lambda: 1 / 0, times=1)
    answer = api.http.get("/v2/tenants")
    assert answer.status_code == 500
    assert f"drift.{moment}('tenants.list', …)" in answer.json()["detail"]
    assert "ZeroDivisionError" in answer.json()["detail"]
    assert "ZeroDivisionError" in caplog.text
    assert len(ids(api)) == 6


def test_front_ids_that_run_out_are_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """If no id is available, the error is raised immediately or when the change is made."""
    seed = {"integrations": [{}], "tenants": [{"id": 3}]}
    with served(seed) as api:
        drift = api.emulator.drift
        with pytest.raises(ValueError, match=r"^count: there are 2 ids below all others, not 3"):
            drift.insert(3, at_front=True)
        drift.before("tenants.list", drift.insert(2, at_front=True))
        assert [one["id"] for one in api.json("/tenants")] == [1, 2, 3]
        assert "there are 0 ids" in api.http.get("/v2/tenants").json()["detail"]


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda drift: drift.before("tenants.lst", int), "operation"),
        (lambda drift: drift.after("tenants.list", 5), "change"),
        (lambda drift: drift.after("tenants.list", later), "change"),
        (lambda drift: drift.after("tenants.list", int, times=0), "times"),
        (lambda drift: drift.archive(0), "count"),
        (lambda drift: drift.insert("1"), "count"),
        (lambda drift: drift.insert(integration_id=9), "integration_id"),
        (lambda drift: drift.resort("name"), "sort_by"),
        (lambda drift: drift.resort("size__ASC"), "sort_by"),
    ],
)
def test_a_bad_change_is_refused_by_name(make: Any, place: str) -> None:
    """The error starts with the invalid argument, and no change is added."""
    drift = Emulator().drift
    with pytest.raises(ValueError, match=f"^{place}: "):
        make(drift)
    assert not drift


async def later() -> None:
    raise AssertionError


@pytest.mark.anyio
@pytest.mark.parametrize("at_front", [False, True])
async def test_a_walk_survives_records_that_come_and_go(*, at_front: bool) -> None:
    """Each tenant that stays is listed once, while others are archived and inserted."""
    seed = {"integrations": [{}], "tenants": [{"id": 1000 + number} for number in range(200)]}
    async with Emulator(seed) as api, AsyncPandium("k", base_url=api.url) as client:
        archived = {1000 + number for number in range(0, 200, 17)}
        left = sorted(archived)
        drift = api.drift
        drift.after("tenants.list", lambda: left and api.archive_tenant(left.pop(0)), every=2)
        drift.after("tenants.list", drift.insert(at_front=at_front), every=3)
        seen = [one.id async for one in client.tenants.list(page_size=10)]
        assert len(seen) == len(set(seen))
        assert set(seen) >= {1000 + number for number in range(200)} - archived
        assert len(left) < len(archived)


@pytest.mark.anyio
async def test_a_walk_can_detect_a_changed_order() -> None:
    """If the order is reversed between two pages, `on_drift="raise"` raises."""
    async with Emulator() as api, AsyncPandium("k", base_url=api.url) as client:
        for _ in range(60):
            api.add_tenant()
        api.drift.after("tenants.list", api.drift.resort(), times=1, after=1)
        with pytest.raises(DriftError):
            await client.tenants.list(page_size=10, prefetch=1, on_drift="raise").to_list()


def test_a_change_after_a_stalled_answer_is_made(api: Api) -> None:
    """The work is done before the body stalls, and then the change is made."""
    plan = api.emulator.drift.after("tenants.list", api.emulator.drift.archive(), times=1)
    api.emulator.faults.add("tenants.list", Stall(), times=1)
    with api.http.stream("GET", "/v2/tenants"):
        assert plan.hits == 1
    assert len(ids(api)) == 5


def test_a_reset_ends_faults_and_drift(api: Api) -> None:
    """No fault or change occurs any more, and the order is the initial one."""
    drift = api.emulator.drift
    drift.resort()()
    plans: list[RequestRule[Any]] = [
        drift.before("tenants.list", drift.archive()),
        drift.after("tenants.list", drift.archive()),
        api.emulator.faults.add(None, Status(503)),
        api.emulator.faults.outage(),
    ]
    api.emulator.reset()
    assert ids(api) == [0, 1, 2, 3, 4, 5]
    assert not any(plan.hits for plan in plans)
