"""Drift over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.control import Control, controlled

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = {"integrations": [{}], "tenants": [{"id": 100 + number} for number in range(4)]}


@pytest.fixture(scope="module")
def shared() -> Iterator[Control]:
    with controlled(SEED) as running:
        yield running


@pytest.fixture
def control(shared: Control) -> Control:
    shared.emulator.reset()
    return shared


def add(control: Control, change: dict[str, Any], **selection: Any) -> dict[str, Any]:
    body = {"timing": "after", "operation": "tenants.list", "change": change, **selection}
    shown: dict[str, Any] = control("POST", "/drift", 201, json=body)
    assert {**shown, **selection, "operation": "tenants.list"} == shown
    assert shown["change"]["type"] == change["type"]
    return shown


def ids(control: Control) -> list[int]:
    return [one["id"] - 100 for one in control.api("GET", "/tenants").json()]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "archive", "count": 2}, [2, 3]),
        ({"type": "archive_tenant", "tenant": 102}, [0, 1, 3]),
        ({"type": "insert", "count": 2}, [0, 1, 2, 3, 4, 5]),
        ({"type": "insert", "at_front": True, "integration_id": 1}, [-1, 0, 1, 2, 3]),
        ({"type": "add_tenant", "tenant": {"id": 150, "name": "late"}}, [0, 1, 2, 3, 50]),
        ({"type": "resort"}, [3, 2, 1, 0]),
        ({"type": "resort", "sort_by": "name__DESC"}, [3, 2, 1, 0]),
    ],
)
@pytest.mark.parametrize("timing", ["before", "after"])
def test_a_change_is_made_before_or_after_a_request(
    control: Control, timing: str, change: dict[str, Any], expected: list[int]
) -> None:
    """A change before a request shows in its response, and one after it in the next one."""
    shown = add(control, change, timing=timing, times=1)
    assert ids(control) == (expected if timing == "before" else [0, 1, 2, 3])
    assert ids(control) == expected
    assert control("GET", f"/drift/{shown['id']}")["hits"] == 1


def test_a_change_is_shown_with_its_defaults(control: Control) -> None:
    """The fields are those that were sent, and the defaults of the others."""
    inserted = add(control, {"type": "insert", "count": 2})
    expected = {"type": "insert", "count": 2, "at_front": False, "integration_id": 1}
    assert inserted["change"] == expected
    added = add(control, {"type": "add_tenant", "tenant": {"name": "late"}})["change"]
    assert added["tenant"] == {"name": "late"}  # the defaults depend on the other records


def test_archiving_at_random_is_repeatable(control: Control) -> None:
    """The same seed archives the same tenants as in Python."""
    add(control, {"type": "archive", "count": 2, "seed": 5}, timing="before", times=1)
    left = ids(control)
    control("POST", "/reset")
    drift = control.emulator.drift
    drift.before("tenants.list", drift.archive(2, seed=5), times=1)
    assert ids(control) == left
    assert len(left) == 2


def test_changes_are_shown_and_removed(control: Control) -> None:
    """One change is removed by its id, or all of them. Their effects remain."""
    first = add(control, {"type": "archive"}, timing="after")
    second = add(control, {"type": "archive"}, timing="before")
    assert {one["id"] for one in control("GET", "/drift")} == {first["id"], second["id"]}
    assert len(ids(control)) == 3
    control("DELETE", f"/drift/{first['id']}", 204)
    assert len(ids(control)) == 1
    control("DELETE", "/drift", 204)
    assert control("GET", "/drift") == []
    assert len(ids(control)) == 1
    for method in ("GET", "DELETE"):
        assert control.refused(method, f"/drift/{first['id']}", 404) == ["path"]


def test_functions_of_a_test_in_python_are_shown_by_name(control: Control) -> None:
    """A function cannot be represented as JSON, so its name is shown instead."""
    control.emulator.drift.before("tenants.list", print)
    [shown] = control("GET", "/drift")
    assert shown["change"] == {"type": "function", "name": "print"}
    assert shown["timing"] == "before"


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"change": {"type": "archive"}, "timing": "later"}, {"timing": "'before' or 'after'"}),
        ({"change": {"type": "archive"}}, {"timing": "is missing"}),
        ({"timing": "after", "change": {"type": "function", "name": "x"}}, {"change.type": "must"}),
        ({"timing": "after", "change": {"type": "archive", "count": 0}}, {"change.count": ""}),
        ({"timing": "after", "change": {"type": "insert", "count": 10**12}}, {"change.count": ""}),
        (
            {"timing": "after", "change": {"type": "archive_tenant", "tenant": 9}},
            {"change.tenant": "there is no tenant 9"},
        ),
        (
            {"timing": "after", "change": {"type": "archive"}, "tenant": 9},
            {"tenant": "there is no tenant 9"},
        ),
        (
            {"timing": "after", "change": {"type": "archive"}, "operation": "list"},
            {"operation": "there is no 'list'; use one of builds.create, "},
        ),
        (
            {"timing": "after", "change": {"type": "insert", "integration_id": 7}},
            {"change.integration_id": "Integration 7 not found"},
        ),
        (
            {"timing": "after", "change": {"type": "insert", "count": 100, "at_front": True}},
            {"change.count": "there are 99 ids below all others"},
        ),
        (
            {"timing": "after", "change": {"type": "resort", "sort_by": "size__ASC"}},
            {"change.sort_by": ""},
        ),
        (
            {"timing": "after", "change": {"type": "add_tenant", "tenant": {"name": "No"}}},
            {"change.tenant.name": "must be lowercase"},
        ),
        (
            {"timing": "after", "change": {"type": "add_tenant", "tenant": {"id": 100}}},
            {"change.tenant.id": "is taken"},
        ),
        (
            {"timing": "after", "change": {"type": "add_tenant", "tenant": {"integration_id": 9}}},
            {"change.tenant.integration_id": "no integration has this id"},
        ),
        (
            {"timing": "after", "change": {"type": "add_tenant", "tenant": {"nam": "x"}}},
            {"change.tenant.nam": "there is no field 'nam'"},
        ),
    ],
)
def test_a_bad_change_is_refused_and_changes_nothing(
    control: Control, body: dict[str, Any], errors: dict[str, str]
) -> None:
    """Each error states the location and the problem, and no tenant is added on trial."""
    found = control("POST", "/drift", 422, json=body)["errors"]
    assert [one["place"] for one in found] == list(errors)
    assert all(
        message in one["message"] for one, message in zip(found, errors.values(), strict=True)
    )
    assert control("GET", "/drift") == []
    assert ids(control) == [0, 1, 2, 3]
