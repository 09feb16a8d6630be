"""Scheduled runs: of integrations that are paused, and at random seconds of the minute."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from pandium.emulator import Emulator
from support.emulating import Api, served


@contextmanager
def scheduled(tenants: int = 1, schedule: str = "*/10 * * * *") -> Iterator[Api]:
    seed = {"integrations": [{"schedule": schedule}, {}], "tenants": [{}] * tenants}
    with served(seed) as api:
        api.clock.epoch = datetime(2026, 1, 1, tzinfo=UTC)
        api.emulator.reset()
        api.emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
        yield api


def starts(api: Api, tenant: int = 1) -> list[str]:
    return [run["started_date"][11:19] for run in api.json(f"/tenants/{tenant}/runs")]


def seconds(api: Api, tenant: int = 1) -> list[float]:
    """Return the seconds after the schedule's date at which each run started."""
    dates = [
        datetime.fromisoformat(run["started_date"]) for run in api.json(f"/tenants/{tenant}/runs")
    ]
    return [(one - api.clock.epoch).total_seconds() % 600 for one in dates]


def test_a_paused_integration_starts_no_scheduled_runs() -> None:
    """Schedules start no runs until the integration is resumed, and missed dates are skipped."""
    with scheduled() as api:
        api.emulator.add_tenant("own", user_schedule="0 * * * *")
        api.clock.advance(600)
        assert api.emulator.pause_integration(1).paused
        api.clock.advance(3600)
        assert (starts(api), starts(api, 2)) == (["00:10:00"], [])
        assert not api.emulator.resume_integration(1).paused
        api.clock.advance(600)
        assert (starts(api), starts(api, 2)) == (["00:10:00", "01:20:00"], [])


def test_only_the_paused_integration_is_affected() -> None:
    """The schedules of other integrations' tenants continue."""
    with scheduled() as api:
        api.emulator.pause_integration(2)
        api.clock.advance(600)
        assert starts(api) == ["00:10:00"]


def test_a_sync_of_a_paused_integration_is_executed() -> None:
    """A sync starts a run, as it does for a paused tenant."""
    with scheduled() as api:
        api.emulator.pause_integration(1)
        assert api.status(api.sync()) == "Succeeded"


def test_a_new_tenant_of_a_paused_integration_has_no_scheduled_runs() -> None:
    """Whether a tenant is added before or after the pause makes no difference."""
    with scheduled() as api:
        api.emulator.pause_integration(1)
        api.emulator.add_tenant()
        api.http.patch("/v2/tenants/1", json={"user_schedule": "* * * * *"})
        api.clock.advance(3600)
        assert (starts(api), starts(api, 2)) == ([], [])


def test_a_seed_and_a_saved_state_can_have_a_paused_integration() -> None:
    """An integration can be added as paused, and remains paused in a saved state."""
    seed = {"integrations": [{"schedule": "* * * * *", "paused": True}], "tenants": [{}]}
    with served(seed) as api:
        assert api.emulator.add_integration(paused=True).paused
        api.emulator.load(api.http.get("/_emulator/state").json())
        assert [one.paused for one in api.emulator.integrations] == [True, True]
        api.clock.advance(3600)
        assert starts(api) == []


@pytest.mark.parametrize("name", ["pause_integration", "resume_integration"])
def test_an_unknown_integration_can_not_be_paused(name: str) -> None:
    """The error names the integration."""
    with pytest.raises(LookupError, match="Integration 9 not found"):
        getattr(Emulator(), name)(9)


def test_schedules_are_exact_by_default() -> None:
    """Without randomization, each run starts on the minute."""
    with scheduled() as api:
        api.clock.advance(3600)
        assert seconds(api) == [0] * 6


def test_random_delays_are_within_the_bound_and_differ() -> None:
    """Each date of each tenant has its own delay, which does not exceed the maximum."""
    with scheduled(tenants=2) as api:
        api.emulator.runs.randomize_schedules(30)
        api.clock.advance(3660)
        delays = [*seconds(api, 1), *seconds(api, 2)]
        assert len(set(delays)) == len(delays) == 12
        assert all(0 <= one <= 30 for one in delays)


def test_the_same_seed_leads_to_the_same_delays() -> None:
    """Delays depend on the seed, not on when the runs are polled."""
    found = []
    for seed, step in ((1, 3660), (1, 61), (2, 3660)):
        with scheduled() as api:
            api.emulator.runs.randomize_schedules(60, seed=seed)
            for _ in range(3660 // step):
                api.clock.advance(step)
                starts(api)
            found.append(seconds(api))
    assert found[0] == found[1] != found[2]


def test_randomization_applies_to_the_next_date_at_once() -> None:
    """The date that is already next is also delayed, and no longer once this is disabled."""
    with scheduled() as api:
        api.clock.advance(599)
        assert api.json("/tenants")[0]["status"]["last_run"] == {}
        api.emulator.runs.randomize_schedules(60, seed=3)
        api.clock.advance(2)
        assert api.json("/tenants")[0]["status"]["last_run"] == {}
        api.emulator.runs.randomize_schedules(0)
        assert api.json("/tenants")[0]["status"]["last_run"]["started_date"][11:19] == "00:10:01"
        api.clock.advance(599)
        assert starts(api) == ["00:10:01", "00:20:00"]


def test_reset_disables_randomization() -> None:
    """After a reset, runs start on the minute."""
    with scheduled() as api:
        api.emulator.runs.randomize_schedules(60)
        api.emulator.reset()
        api.clock.advance(3600)
        assert seconds(api) == [0] * 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "within: must be greater than or equal to 0, not -1"),
        ((61,), "within: must be less than or equal to 60, not 61"),
        ((float("nan"),), "within: must be less than or equal to 60, not nan"),
        ((True,), "within: must be a valid number, not True"),
        ((5, 1.5), "seed: must be a valid integer, not 1.5"),
        ((5, True), "seed: must be a valid integer, not True"),
    ],
)
def test_an_invalid_randomization_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    """The error names the argument and its value."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        Emulator().runs.randomize_schedules(*arguments)
