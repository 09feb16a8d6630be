"""Triggers, runs and logs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from pandium.emulator import Emulator, Phase, Polls
from support.emulating import Api, served

STEPS = [("Running", 4), ("Succeeded", 0)]


def scripted(api: Api, tenants: int = 1) -> None:
    api.emulator.runs.script(appears_after=2, phases=STEPS)
    for _ in range(tenants):
        api.emulator.add_tenant()


def test_a_trigger_is_unknown_until_its_run_appears() -> None:
    """The status is a 404, then each phase for its duration, then the last phase forever."""
    with served() as api:
        scripted(api)
        trigger = api.sync()
        seen = []
        for seconds in (0, 1, 1, 3, 1, 100):
            api.clock.advance(seconds)
            seen.append(api.status(trigger))
        assert seen == [None, None, "Running", "Running", "Succeeded", "Succeeded"]
        assert api.status("99") is None
        assert api.status("no-number") is None


def test_triggers_during_a_run_share_the_next_one() -> None:
    """A single run takes all of them, and begins after the current one has ended."""
    with served() as api:
        scripted(api)
        first = api.sync()
        early = api.sync()
        api.clock.advance(3)
        late = [api.sync(), api.sync()]
        api.clock.advance(3)
        assert [api.status(one) for one in (first, early, *late)] == ["Succeeded"] * 2 + [None] * 2
        api.clock.advance(1)
        late.append(api.sync())
        api.clock.advance(1)
        assert [api.status(one) for one in late] == ["Running"] * 3
        runs = api.json("/tenants/1/runs")
        shared = [[str(t["id"]) for t in run["triggers"]] for run in runs]
        assert shared == [[first, early], late]


def test_tenants_do_not_wait_for_each_other() -> None:
    """Only triggers of one tenant are bundled."""
    with served() as api:
        scripted(api, tenants=2)
        triggers = [api.sync(1), api.sync(2)]
        api.clock.advance(2)
        assert [api.status(one) for one in triggers] == ["Running", "Running"]


def test_a_run_shows_what_started_it() -> None:
    """A run has its phase, its dates, and each trigger with its payload."""
    with served() as api:
        scripted(api)
        api.sync(payload={"since": "2026-01-01"})
        api.sync()
        assert api.json("/tenants/1/runs") == []
        api.clock.advance(2)
        [run] = api.json("/tenants/1/runs")
        assert (run["tenant_id"], run["integration_id"], run["mode"]) == (1, 1, "normal")
        assert [one["payload"] for one in run["triggers"]] == [{"since": "2026-01-01"}, {}]
        assert {one["source"] for one in run["triggers"]} == {"api"}
        assert run["status"]["phase"] == "Running"
        assert run["status"]["completionTime"] is run["completed_date"] is None
        api.clock.advance(4)
        [run] = api.json("/tenants/1/runs")
        assert run["status"]["phase"] == "Succeeded"
        assert run["status"]["startTime"] < run["status"]["completionTime"]
        assert run["started_date"] < run["completed_date"]


def test_runs_are_listed_in_parts() -> None:
    """`sort_by`, `skip` and `limit` apply to runs. Runs that have not ended come last."""
    with served() as api:
        scripted(api)
        for _ in range(3):
            api.sync()
            api.clock.advance(6)
        api.sync()
        api.clock.advance(2)
        by_end = api.json("/tenants/1/runs", sort_by="completed_date__DESC")
        assert [one["id"] for one in by_end] == [3, 2, 1, 4]
        assert [one["id"] for one in api.json("/tenants/1/runs", skip=1, limit=2)] == [2, 3]
        assert api.refused("GET", "/tenants/1/runs?sort_by=phase__ASC") == [["query", "sort_by"]]
        api.missing("GET", "/tenants/9/runs")


def test_the_tenant_shows_its_runs() -> None:
    """A tenant has its current run, its last ended run, and its last successful run."""
    with served() as api:
        scripted(api)

        def shown() -> tuple[Any, Any, Any]:
            status = api.json("/tenants")[0]["status"]
            names = ("current_run", "last_run", "last_successful_run")
            current, last, good = (status[name].get("id") for name in names)
            return current, last, good

        api.sync()
        assert shown() == (None, None, None)
        api.clock.advance(2)
        assert shown() == (1, None, None)
        api.sync()
        api.clock.advance(4)
        assert shown() == (None, 1, 1)
        api.clock.advance(2)
        assert shown() == (2, 1, 1)
        api.emulator.runs.script(appears_after=0, phases=[("Failed", 0)])
        api.clock.advance(4)
        api.sync()
        assert shown() == (None, 3, 2)
        api.sync()
        assert shown() == (None, 4, 2)


def test_the_most_specific_script_wins() -> None:
    """A tenant's script precedes its integration's, which precedes the default."""
    with served() as api:
        scripted(api, tenants=2)
        api.emulator.add_integration()
        api.emulator.add_tenant(integration_id=2)
        script = api.emulator.runs.script
        script(appears_after=0, phases=[("All", 0)])
        script(integration=1, appears_after=0, phases=[("Integration", 0)])
        script(tenant=1, appears_after=0, phases=[("Tenant", math.inf)])
        words = [api.status(api.sync(tenant)) for tenant in (1, 2, 3)]
        assert words == ["Tenant", "Integration", "All"]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"appears_after": -1}, "appears_after"),
        ({"appears_after": "1"}, "appears_after"),
        ({"appears_after": math.nan}, "appears_after"),
        ({"phases": []}, "phases"),
        ({"phases": "Running"}, "phases"),
        ({"phases": 5}, "phases"),
        ({"phases": ["Running"]}, r"phases\[0\]"),
        ({"phases": [("Running", 1), ("Done",)]}, r"phases\[1\]\[1\]"),
        ({"phases": [5]}, r"phases\[0\]"),
        ({"phases": [(1, 1)]}, r"phases\[0\]\[0\]"),
        ({"phases": [("", 1)]}, r"phases\[0\]\[0\]"),
        ({"phases": [("Running", True)]}, r"phases\[0\]\[1\]"),
        ({"phases": [(None, 1), ("Running", 1)]}, "phases"),
        ({"words": [("Running", 1)]}, "words"),
        ({"phases": [("Running", 1), (None, -1)]}, r"phases\[1\]\[1\]"),
        ({"killed_after": -1}, "killed_after"),
        ({"killed_after": Polls(3)}, "killed_after"),
        ({"tenant": 1, "integration": 1}, "integration"),
    ],
)
def test_a_bad_script_is_refused_at_its_place(arguments: dict[str, Any], place: str) -> None:
    """The error starts with the argument and the location in it."""
    with pytest.raises(ValueError, match=f"^{place}: "):
        Emulator().runs.script(**arguments)


def test_a_run_may_take_longer_than_there_are_dates() -> None:
    """A duration beyond the last possible date is unlimited, like an infinite one."""
    with served({"tenants": [{}, {}]}) as api:
        script = api.emulator.runs.script
        for tenant, seconds in ((1, 1e300), (2, math.inf)):
            phases: list[Phase] = [("Running", seconds), ("Succeeded", 0)]
            script(tenant=tenant, phases=phases, killed_after=seconds)
        triggers = [api.sync(1), api.sync(2)]
        api.clock.advance(1e10)
        assert [api.status(one) for one in triggers] == ["Running", "Running"]


@pytest.mark.parametrize("number", [-1, 1.5, True, "3", None])
def test_a_number_of_polls_is_a_whole_number(number: Any) -> None:
    """Any other number of polls is rejected."""
    with pytest.raises(ValueError, match=r"^polls: "):
        Polls(number)


def polled(api: Api, trigger: str, times: int) -> list[str | None]:
    return [api.status(trigger) for _ in range(times)]


def test_a_run_can_advance_by_polls() -> None:
    """The 404 and each phase last for their number of polls, however much time passes."""
    with served() as api:
        phases: list[Phase] = [
            ("Pending", Polls(1)),
            ("Odd", Polls(0)),
            ("Running", Polls(2)),
            ("Succeeded", 0),
        ]
        api.emulator.runs.script(appears_after=Polls(2), phases=phases, killed_after=math.inf)
        api.emulator.add_tenant()
        trigger = api.sync()
        api.clock.advance(10_000)
        seen = polled(api, trigger, 7)
        assert seen == [None, None, "Pending", "Running", "Running", "Succeeded", "Succeeded"]


def test_phases_in_polls_and_in_seconds_can_alternate() -> None:
    """The duration of a phase starts with the last poll of the previous one."""
    with served() as api:
        phases: list[Phase] = [
            ("Running", 5),
            ("Checking", Polls(1)),
            ("Closing", 3),
            ("Succeeded", 0),
        ]
        api.emulator.runs.script(appears_after=1, phases=phases)
        api.emulator.add_tenant()
        trigger = api.sync()
        assert polled(api, trigger, 2) == [None, None]
        api.clock.advance(1)
        assert polled(api, trigger, 2) == ["Running", "Running"]
        api.clock.advance(60)
        assert polled(api, trigger, 2) == ["Checking", "Closing"]
        api.clock.advance(3)
        assert api.status(trigger) == "Succeeded"


def test_polls_of_a_waiting_trigger_count_for_the_run_before_it() -> None:
    """Polls of any trigger of a run count, and so do polls of triggers that wait behind it."""
    with served() as api:
        phases: list[Phase] = [("Running", Polls(2)), ("Succeeded", 0)]
        api.emulator.runs.script(appears_after=Polls(2), phases=phases)
        api.emulator.add_tenant()
        first, second = api.sync(), api.sync()
        assert [api.status(one) for one in (first, second)] == [None, None]
        third = api.sync()
        assert polled(api, third, 4) == [None] * 4
        assert polled(api, first, 3) == ["Succeeded"] * 3
        assert polled(api, third, 3) == ["Running", "Running", "Succeeded"]


def test_the_tenant_shows_the_effects_of_polls() -> None:
    """A listing of tenants includes the effects of the last poll."""
    with served() as api:
        api.emulator.runs.script(
            appears_after=Polls(1), phases=[("Running", Polls(1)), ("Done", 0)]
        )
        api.emulator.add_tenant()
        trigger = api.sync()

        def shown() -> tuple[bool, bool]:
            status = api.json("/tenants")[0]["status"]
            return bool(status["current_run"]), bool(status["last_run"])

        seen = [shown()]
        for _ in range(2):
            api.status(trigger)
            seen.append(shown())
        assert seen == [(False, False), (True, False), (False, True)]


def test_a_status_may_flicker() -> None:
    """A status of None is a 404, between two phases or at the end. The run keeps its phase."""
    with served() as api:
        phases: list[Phase] = [
            ("Running", 1),
            (None, Polls(2)),
            ("Running", 1),
            ("Succeeded", 1),
            (None, 0),
        ]
        api.emulator.runs.script(appears_after=0, phases=phases)
        api.emulator.add_tenant()
        trigger = api.sync()
        assert api.status(trigger) == "Running"
        api.clock.advance(1)
        assert api.json("/tenants/1/runs")[0]["status"]["phase"] == "Running"
        assert polled(api, trigger, 3) == [None, None, "Running"]
        api.clock.advance(1)
        assert api.status(trigger) == "Succeeded"
        api.clock.advance(1)
        assert polled(api, trigger, 2) == [None, None]
        [run] = api.json("/tenants/1/runs")
        assert (run["status"]["phase"], run["completed_date"] is None) == ("Succeeded", False)
        assert api.json("/tenants")[0]["status"]["last_successful_run"]["id"] == run["id"]


def test_a_run_is_killed_at_ten_minutes() -> None:
    """A run that has not ended by then fails with the vendor's status, and the next one begins."""
    with served() as api:
        api.emulator.runs.script(appears_after=0, phases=[("Running", math.inf)])
        api.emulator.add_tenant()
        first = api.sync()
        assert api.status(first) == "Running"
        second = api.sync()
        api.clock.advance(599)
        assert [api.status(one) for one in (first, second)] == ["Running", None]
        api.clock.advance(1)
        assert [api.status(one) for one in (first, second)] == ["Failed (Timeout)", "Running"]
        run, _ = api.json("/tenants/1/runs")
        assert run["status"]["phase"] == "Failed (Timeout)"
        begun, ended = (
            datetime.fromisoformat(run[f"{one}_date"]) for one in ("started", "completed")
        )
        assert ended - begun == timedelta(minutes=10)


def test_a_run_that_needs_all_of_its_time_is_not_killed() -> None:
    """A run that ends exactly at the limit is not killed. The limit can be changed or disabled."""
    with served({"tenants": [{}] * 4}) as api:
        script = api.emulator.runs.script
        script(tenant=1, appears_after=0, phases=[("Running", 600), ("Succeeded", 0)])
        script(tenant=2, appears_after=0, phases=[("Running", 9)], killed_after=5)
        endless = [("Running", 7200), ("Succeeded", 0)]
        script(tenant=3, appears_after=0, phases=endless, killed_after=math.inf)
        script(tenant=4, appears_after=0, phases=[("Running", Polls(9))])
        triggers = [api.sync(tenant) for tenant in (1, 2, 3, 4)]
        api.clock.advance(600)
        killed = "Failed (Timeout)"
        words = [api.status(one) for one in triggers]
        assert words == ["Succeeded", killed, "Running", killed]
        api.clock.advance(6600)
        assert api.status(triggers[2]) == "Succeeded"


@contextmanager
def scheduled(schedule: str | None, **options: Any) -> Iterator[Api]:
    with served() as api:
        api.clock.epoch = datetime(2026, 1, 1, tzinfo=UTC)
        api.emulator.runs.script(appears_after=2, phases=STEPS)
        api.emulator.add_tenant(user_schedule=schedule, **options)
        yield api


def begun(api: Api, tenant: int = 1) -> list[tuple[str, str]]:
    runs = api.json(f"/tenants/{tenant}/runs")
    return [(run["triggers"][0]["source"], run["started_date"][11:19]) for run in runs]


def test_runs_begin_by_the_schedule() -> None:
    """At each date of the cron expression, in UTC, a run appears, even if nobody polls it."""
    with scheduled("30 */2 * * *") as api:
        assert begun(api) == []
        api.clock.advance(5 * 3600)
        assert begun(api) == [("Cron", "00:30:00"), ("Cron", "02:30:00"), ("Cron", "04:30:00")]
        [run, *_] = api.json("/tenants/1/runs")
        assert run["mode"] == "normal"
        assert [one["created_date"][11:19] for one in run["triggers"]] == ["00:30:00"]
        assert run["status"]["phase"] == "Succeeded"
        assert api.emulator.runs.find(run["id"]) is not None


def test_the_tenant_shows_its_scheduled_runs() -> None:
    """The status of an unchanged tenant changes when its schedule is due."""
    with scheduled("*/10 * * * *") as api:

        def shown() -> list[bool]:
            status = api.json("/tenants")[0]["status"]
            return [bool(status[name]) for name in ("current_run", "last_run")]

        seen = []
        for seconds in (0, 600, 4, 596):
            api.clock.advance(seconds)
            seen.append(shown())
        assert seen == [[False, False], [True, False], [False, True], [True, True]]


def test_a_scheduled_run_takes_precedence() -> None:
    """A scheduled run precedes waiting runs and one that has not appeared, which waits again."""
    with scheduled("*/10 * * * *") as api:
        api.clock.advance(597)
        first = api.sync()  # appears at 599, ends at 603
        api.clock.advance(2)
        second = api.sync()
        api.clock.advance(5)  # 604: the scheduled one goes since 603
        assert [api.status(one) for one in (first, second)] == ["Succeeded", None]
        assert begun(api) == [("api", "00:09:59"), ("Cron", "00:10:03")]
        api.clock.advance(4)  # 608: it has ended at 607
        assert api.status(second) is None
        api.clock.advance(1)
        assert api.status(second) == "Running"
        assert begun(api)[1:] == [("api", "00:10:09"), ("Cron", "00:10:03")]
        api.clock.advance(590)
        third = api.sync()  # 1199: would appear at 1201
        api.clock.advance(6)  # 1205: the scheduled one has gone from 1200 to 1204
        assert api.status(third) is None
        api.clock.advance(1)
        assert api.status(third) == "Running"


def test_scheduled_triggers_are_bundled_too() -> None:
    """Dates that pass while a run is in progress share the next scheduled run."""
    with scheduled("* * * * *") as api:
        api.emulator.runs.script(appears_after=0, phases=[("Running", 150)])
        api.clock.advance(211)
        runs = api.json("/tenants/1/runs")
        assert [len(run["triggers"]) for run in runs] == [1, 2]


@pytest.mark.parametrize("state", [{"paused": True}, {"archived": True}])
def test_only_a_tenant_that_is_active_runs_by_its_schedule(state: dict[str, bool]) -> None:
    """Paused and archived tenants have no scheduled runs, and missed dates are skipped."""
    with scheduled("0 * * * *", **state) as api:
        api.clock.advance(3600)
        api.http.patch("/v2/tenants/1", json=dict.fromkeys(state, False))
        assert begun(api) == []
        api.clock.advance(3600)
        assert begun(api) == [("Cron", "02:00:00")]
        api.http.patch("/v2/tenants/1", json=state)
        api.clock.advance(3600)
        assert len(begun(api)) == 1


def test_the_integration_has_a_schedule_for_those_without() -> None:
    """A tenant's own schedule takes precedence. Only updates of the schedule affect it."""
    with scheduled("0 * * * *") as api:
        api.emulator.add_integration(schedule="15 * * * *")
        api.emulator.add_tenant(integration_id=2)
        api.emulator.add_tenant(integration_id=2, user_schedule="45 * * * *")
        api.clock.advance(3599)
        for tenant, change in ((1, {"name": "other"}), (3, {"user_schedule": None})):
            api.http.patch(f"/v2/tenants/{tenant}", json=change)
        api.clock.advance(3001)
        assert [begun(api, tenant)[-1][1] for tenant in (1, 2, 3)] == [
            "01:00:00",
            "01:15:00",
            "01:15:00",
        ]
        assert begun(api, 3)[0][1] == "00:45:00"


@pytest.mark.parametrize("subject", ["tenant", "integration"])
def test_a_script_for_an_unknown_record_is_an_error(subject: str) -> None:
    """The error names the tenant or the integration, and no script is added."""
    runs = Emulator().runs
    before = runs.scripts
    with pytest.raises(ValueError, match=f"^{subject}: there is no {subject} 99$"):
        runs.script(**{subject: 99})  # type: ignore[call-overload]  # any field
    assert runs.scripts == before


def test_a_script_applies_only_to_runs_due_after_it() -> None:
    """A run that was due earlier follows the script of that time, even if nobody polled it."""
    with scheduled("0 * * * *") as api:
        api.clock.advance(3601)
        api.emulator.runs.script(phases=[("Other", 1)])
        assert api.json("/tenants/1/runs")[0]["status"]["phase"] == "Running"
        api.clock.advance(3600)
        assert api.json("/tenants/1/runs")[1]["status"]["phase"] == "Other"


def test_an_integration_s_sync_finds_the_tenant_of_a_user() -> None:
    """The user's tenant gets the trigger. Archived tenants are ignored."""
    with served() as api:
        api.emulator.add_tenant(user_name="u", archived=True)
        api.emulator.add_tenant(user_name="v")
        api.emulator.runs.script(appears_after=0)
        url = "/v2/integrations/1/sync?mode=init&user_name="
        answer = api.http.post(f"{url}v", json={"a": 1})
        assert (answer.status_code, answer.json()) == (202, {"trigger_id": "1"})
        [run] = api.json("/tenants/2/runs")
        assert (run["mode"], run["triggers"][0]["payload"]) == ("init", {"a": 1})
        api.missing("POST", "/integrations/1/sync?mode=init&user_name=u")
        api.missing("POST", "/integrations/9/sync?mode=init&user_name=v")
        refused = api.http.post("/v2/integrations/1/sync?mode=init")
        assert (refused.status_code, list(refused.json())) == (422, ["message"])


def test_a_sync_needs_a_tenant_and_a_mode() -> None:
    """Unknown and archived tenants are a 404. An invalid mode is a 422 in FastAPI's format."""
    with served() as api:
        api.emulator.add_tenant(archived=True)
        api.missing("POST", "/tenants/1/sync?mode=init")
        api.missing("POST", "/tenants/9/sync?mode=init")
        assert api.refused("POST", "/tenants/1/sync") == [["query", "mode"]]
        assert api.refused("POST", "/tenants/1/sync?mode=webhook") == [["query", "mode"]]
        bad = api.refused("POST", "/tenants/1/sync?mode=init", json=[1])
        assert [place[0] for place in bad] == ["body"]


def test_a_log_is_kept_at_another_origin() -> None:
    """The log is a 302 to a URL there, which needs no key and shows the run's progress."""
    with served(api_key="k") as api:
        scripted(api)
        api.sync()
        api.missing("GET", "/runs/1/log")
        api.missing("GET", "/runs/99/log")
        api.clock.advance(2)
        answer = api.http.get("/v2/runs/1/log")
        assert answer.status_code == 302
        url = httpx.URL(answer.headers["location"])
        assert (url.host, url.port) != ("127.0.0.1", api.emulator.port)
        log = httpx.get(url)
        assert log.headers["content-type"].startswith("text/plain")
        assert [line.split(": ")[1] for line in log.text.splitlines()] == ["triggers 1", "Running"]
        api.clock.advance(4)
        assert httpx.get(url).text.endswith("run 1: Succeeded\n")
        [first, _] = api.emulator.storage_requests
        assert first.path == "/logs/1"
        assert "x-api-key" not in first.headers
        httpx.get(url, headers={"x-api-key": "k"})
        assert api.emulator.storage_requests[-1].headers["x-api-key"] == "***"


def test_the_address_of_a_log_is_good_for_a_while() -> None:
    """It expires after fifteen minutes, and is valid for no other run or signature."""
    with served() as api:
        scripted(api)
        api.sync()
        api.clock.advance(2)
        url = httpx.URL(api.http.get("/v2/runs/1/log").headers["location"])
        api.clock.advance(899)
        assert httpx.get(url).status_code == 200
        for other in (
            url.copy_with(path="/logs/2"),
            url.copy_merge_params({"signature": "é"}),
            url.copy_merge_params({"expires": "99999"}),
            url.copy_with(query=None),
        ):
            assert httpx.get(other).status_code == 403
        api.clock.advance(1)
        assert httpx.get(url).status_code == 403
