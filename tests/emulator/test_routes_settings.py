"""The control API's routes for the page limit, random schedules and paused integrations."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from support.control import Control, controlled


@pytest.fixture
def control() -> Iterator[Control]:
    seed = {"integrations": [{"schedule": "* * * * *"}], "tenants": [{}] * 3}
    with controlled(seed) as control:
        yield control


DEFAULT = {"page_limit": None, "schedule_delay": {"within": 0.0, "seed": 0}}


def test_the_page_limit_can_be_changed_and_removed(control: Control) -> None:
    """Pages have at most `page_limit` records until it is set to null."""
    assert control("GET", "/settings") == DEFAULT
    assert control("PATCH", "/settings", json={"page_limit": 2}) == {**DEFAULT, "page_limit": 2}
    assert len(control.api("GET", "/tenants").json()) == 2
    control("PATCH", "/settings", json={"schedule_delay": {"seed": 1}})
    assert len(control.api("GET", "/tenants").json()) == 2
    control("PATCH", "/settings", json={"page_limit": None})
    assert len(control.api("GET", "/tenants").json()) == 3


def test_schedules_can_be_randomized(control: Control) -> None:
    """Runs start some seconds after the minute. Other settings do not affect the delay."""
    delay = {"within": 30, "seed": 7}
    assert control("PATCH", "/settings", json={"schedule_delay": delay})["schedule_delay"] == delay
    assert control("PATCH", "/settings", json={"page_limit": 5})["schedule_delay"] == delay
    control.emulator.clock.advance(120)  # type: ignore[unused-coroutine]  # the clock of the tests
    [first, *_] = control.api("GET", "/tenants/1/runs").json()
    started = datetime.fromisoformat(first["started_date"])
    assert 0 < started.second + started.microsecond / 1e6 <= 30


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"page_limit": 0}, "page_limit"),
        ({"page_limit": "2"}, "page_limit"),
        ({"schedule_delay": {"within": 61}}, "schedule_delay.within"),
        ({"schedule_delay": {"seed": 1.5}}, "schedule_delay.seed"),
        ({"limit": 2}, "limit"),
    ],
)
def test_an_invalid_setting_is_refused_by_its_place(
    control: Control, change: dict[str, Any], place: str
) -> None:
    """The errors name the field, and nothing is changed."""
    assert control.refused("PATCH", "/settings", json={"page_limit": 2, **change}) == [place]
    assert control("GET", "/settings") == DEFAULT


def test_an_integration_can_be_paused_and_resumed(control: Control) -> None:
    """No scheduled run starts in between."""
    assert control("POST", "/integrations/1/pause")["paused"] is True
    control.emulator.clock.advance(120)  # type: ignore[unused-coroutine]  # as above
    assert control.api("GET", "/tenants/1/runs").json() == []
    assert control("POST", "/integrations/1/resume")["paused"] is False
    control.emulator.clock.advance(60)  # type: ignore[unused-coroutine]  # as above
    assert len(control.api("GET", "/tenants/1/runs").json()) == 1


def test_an_unknown_integration_is_not_found(control: Control) -> None:
    """Pausing and resuming an integration that does not exist is a 404."""
    for action in ("pause", "resume"):
        assert control.refused("POST", f"/integrations/9/{action}", 404) == ["path"]
