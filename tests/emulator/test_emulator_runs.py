"""Triggers, runs, logs."""

import math
from typing import Any

import httpx
import pytest
from emulating import Api, served

from pandium.emulator import Clock, Emulator

STEPS = [("Running", 4), ("Succeeded", 0)]


def scripted(api: Api, tenants: int = 1) -> None:
    api.emulator.runs.script(appears_after=2, phases=STEPS)
    for _ in range(tenants):
        api.emulator.add_tenant()


def test_a_trigger_is_unknown_until_its_run_appears() -> None:
    """404, then each phase for its seconds, and the last word for ever."""
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


def test_triggers_while_a_run_goes_share_the_next_one() -> None:
    """One next run takes them all, and begins after the present one has ended."""
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
    """`sort_by`, `skip` and `limit` hold for runs; runs without an end come last."""
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
    """The going run, the last one that ended, and the last one that ended well."""
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
    """A tenant's script goes before its integration's, and that before the one for all."""
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
        ({"phases": [("Running", 1), ("Done",)]}, r"phases\[1\]"),
        ({"phases": [5]}, r"phases\[0\]"),
        ({"phases": [(1, 1)]}, r"phases\[0\]\[0\]"),
        ({"phases": [("", 1)]}, r"phases\[0\]\[0\]"),
        ({"phases": [("Running", True)]}, r"phases\[0\]\[1\]"),
        ({"tenant": 1, "integration": 1}, "tenant, integration"),
    ],
)
def test_a_bad_script_is_refused_at_its_place(arguments: dict[str, Any], place: str) -> None:
    """The error names the argument and the place in it."""
    with pytest.raises(ValueError, match=f"^{place}: "):
        Emulator().runs.script(**arguments)


def test_an_integration_s_sync_finds_the_tenant_of_a_user() -> None:
    """The user's tenant gets the trigger; an archived one is none."""
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
    """Unknown and archived tenants are 404; a bad mode is refused in FastAPI's shape."""
    with served() as api:
        api.emulator.add_tenant(archived=True)
        api.missing("POST", "/tenants/1/sync?mode=init")
        api.missing("POST", "/tenants/9/sync?mode=init")
        assert api.refused("POST", "/tenants/1/sync") == [["query", "mode"]]
        assert api.refused("POST", "/tenants/1/sync?mode=webhook") == [["query", "mode"]]
        bad = api.refused("POST", "/tenants/1/sync?mode=init", json=[1])
        assert [place[0] for place in bad] == ["body"]


def test_a_log_is_kept_at_another_origin() -> None:
    """302 to an address there, which needs no key, and shows how far the run has come."""
    with served(api_key="k") as api:
        scripted(api)
        api.sync()
        api.missing("GET", "/runs/1/log")
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
    """It ends after fifteen minutes, and another run or signature does not pass."""
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


def test_the_clock_of_every_day_goes_on_by_itself() -> None:
    """Seconds grow, and a moment keeps its date."""
    clock = Emulator().clock
    assert type(clock) is Clock
    before = clock.now()
    while clock.now() == before:
        pass
    assert clock.now() > before
    assert clock.at(before) == clock.at(before) < clock.wall()
