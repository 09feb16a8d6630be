"""Saving an emulator's state to a file and loading it again."""

import json
import math
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandium.emulator import Emulator, ManualClock, Polls
from support.emulating import LIMITS, Api, served

SAVED = Path(__file__).parent.parent / "data" / "emulator-state-2.json"
Act = Callable[[Api], object]


eighths = st.integers(0, 40).map(lambda number: number / 8)  # exact in any sum of them
keys = st.integers(1, 4)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars | st.just("\ud800"), lambda inner: st.lists(inner, max_size=2))
objects = st.dictionaries(st.text(max_size=3), values, max_size=2)
words = st.sampled_from(["Running", "Succeeded", "Failed (Refresh)"])
poll_counts = st.integers(0, 2).map(Polls)
phases = st.builds(
    lambda first, rest: [first, *rest],
    st.tuples(words, eighths | poll_counts),
    st.lists(st.tuples(words | st.none(), eighths | poll_counts | st.just(math.inf)), max_size=2),
)


def send(method: str, path: str, body: Any) -> Act:
    content = json.dumps(body)
    headers = {"content-type": "application/json"}
    return lambda api: api.http.request(method, f"/v2{path}", content=content, headers=headers)


def add_tenant(integration: int, fields: dict[str, Any]) -> Act:
    return lambda api: api.emulator.add_tenant(integration_id=integration, **fields)


def set_script(subject: str, key: int, **script: Any) -> Act:
    if subject != "all":
        script[subject] = key

    def act(api: Api) -> None:
        with suppress(ValueError):  # the tenant or the integration may not exist
            api.emulator.runs.script(**script)

    return act


tenants = st.fixed_dictionaries(
    {},
    optional={
        "paused": st.booleans(),
        "archived": st.booleans(),
        "configs": objects,
        "metadata": objects,
        "user_name": st.text(max_size=3),
        "connected": st.sampled_from([True, False, ["crm"]]),
        "user_schedule": st.sampled_from(["* * * * *", "0 0 1 1 *", None]),
        "integration_release_channel": st.sampled_from(["Latest", "Default"]),
    },
)
changes = st.fixed_dictionaries(
    {}, optional={"integration_release_id": keys, "configs": objects, "paused": st.booleans()}
)
acts: st.SearchStrategy[Act] = st.one_of(
    st.builds(add_tenant, st.integers(1, 2), tenants),
    st.builds(
        lambda key: send("POST", "/tenants", {"name": f"t-{key}", "integration_id": 1}), keys
    ),
    st.builds(lambda key, data: send("PATCH", f"/tenants/{key}", data), keys, changes),
    st.builds(lambda key: send("DELETE", f"/tenants/{key}", None), keys),
    st.builds(lambda key, data: send("PATCH", f"/tenants/{key}/metadata", data), keys, objects),
    st.builds(
        lambda key, data: send("POST", f"/tenants/{key}/sync?mode=normal", data), keys, objects
    ),
    st.builds(lambda key: send("PATCH", f"/tenants/{key}/connectors/crm/disconnect", None), keys),
    st.builds(
        lambda key: send(
            "POST", "/sourcecontrol/build?mode=init", {"build_tag": "t", "integration_id": key}
        ),
        keys,
    ),
    st.builds(
        set_script,
        st.sampled_from(["all", "tenant", "integration"]),
        keys,
        appears_after=eighths | poll_counts | st.sampled_from([math.inf, 1e300]),
        phases=phases,
        killed_after=eighths | st.just(math.inf),
    ),
    st.just(lambda api: api.clock.advance(60)),  # to the next date of each schedule
    st.builds(lambda seconds: lambda api: api.clock.advance(seconds), eighths),
)


def seen(api: Api) -> list[Any]:
    """Return everything that a user of the API can see, except signatures."""
    paths = ["/integrations", "/integrations?archived=true", "/tenants", "/tenants?archived=true"]
    for integration in (1, 2):
        paths += [
            f"/integrations/{integration}/releases{end}" for end in ("", "/default", "/latest")
        ]
    for key in range(1, 5):
        paths += [f"/tenants/{key}/{part}" for part in ("metadata", "release", "runs")]
        paths += [f"/runs/triggers/{key}/status", f"/runs/{key}/log"]
    answers = [api.http.get(f"/v2{path}") for path in paths]
    logs = [api.http.get(one.headers["location"]).text for one in answers if one.is_redirect]
    calls = [call(api, key) for key in range(1, 4)]
    return [[(one.status_code, one.content) for one in answers], logs, calls]


def call(api: Api, tenant: int, connector: str = "crm") -> tuple[int, bytes]:
    path = f"/v2/tenants/{tenant}/connectors/{connector}/call"
    answer = api.http.post(path, json={"method": "GET", "target_url": "https://x.example/"})
    return answer.status_code, answer.content


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Api, Api]]:
    with served() as first, served() as second:
        yield first, second


SEED: dict[str, Any] = {
    "integrations": [{"releases": 2}, {"name": "other", "schedule": "* * * * *"}],
    "tenants": [{}],
    "upstreams": [{"connector": "crm", "status": 200, "data": {"a": "\ud800"}}],
}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    suffix=st.sampled_from(["json", "yaml"]),
    before=st.lists(acts, max_size=12),
    after=st.lists(acts, max_size=6),
)
def test_what_was_loaded_behaves_as_what_was_saved(
    both: tuple[Api, Api],
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    before: list[Act],
    after: list[Act],
) -> None:
    """All responses are the same, immediately and after any further requests to both."""
    first, second = both
    first.emulator.load(SEED)
    for act in before:
        act(first)
    path = tmp_path_factory.getbasetemp() / f"state.{suffix}"
    first.emulator.save(path)
    second.clock.seconds = first.clock.seconds + 1000
    second.clock.epoch = first.clock.epoch - timedelta(seconds=1000)
    second.emulator.load(path)
    assert second.clock.wall() == first.clock.wall()
    assert seen(second) == seen(first)
    for act in after:
        act(first)
        act(second)
    assert seen(second) == seen(first)
    assert second.emulator._service.dump() == first.emulator._service.dump()


def test_a_state_that_was_saved_earlier_is_restored(tmp_path: Path) -> None:
    """A file of the current version is saved exactly as it was loaded."""
    path = tmp_path / "state.json"
    Emulator(SAVED, clock=ManualClock()).save(path)
    assert json.loads(path.read_text()) == json.loads(SAVED.read_text())


def reloaded(api: Api, tmp_path: Path) -> None:
    api.emulator.save(tmp_path / "state.json")
    api.emulator.load(tmp_path / "state.json")


def test_counted_polls_remain_counted(tmp_path: Path) -> None:
    """A phase of three polls ends with the third, whenever the state was saved."""
    with served({"integrations": [{}], "tenants": [{}]}) as api:
        api.emulator.runs.script(appears_after=0, phases=[("Running", Polls(3)), ("Done", 0)])
        trigger = api.sync()
        seen = []
        for _ in range(4):
            seen.append(api.status(trigger))
            reloaded(api, tmp_path)
        assert seen == ["Running", "Running", "Running", "Done"]


def queued(api: Api) -> list[str]:
    """Start a run, with a triggered run and a scheduled run waiting behind it."""
    api.emulator.runs.script(appears_after=0, phases=[("Running", 90), ("Done", 0)])
    triggers = [api.sync(), api.sync()]
    api.clock.advance(60)
    return triggers


SCHEDULED = {"integrations": [{"schedule": "* * * * *"}], "tenants": [{}]}


def test_a_time_that_never_ends_is_null_in_a_file(tmp_path: Path) -> None:
    """JSON has no infinity."""
    emulator = Emulator(state_file=tmp_path / "state.json")
    emulator.runs.script(
        appears_after=math.inf, phases=[("Running", math.inf)], killed_after=math.inf
    )
    emulator.save()
    [script] = json.loads((tmp_path / "state.json").read_text())["scripts"]
    assert (script["appears_after"], script["killed_after"]) == (None, None)
    assert script["phases"] == [["Running", None]]


def test_a_saved_scheduled_run_still_takes_precedence(tmp_path: Path) -> None:
    """A scheduled run stays ahead of others, whether it was saved waiting or in progress."""
    with served(SCHEDULED) as api:
        _, waiting = queued(api)
        reloaded(api, tmp_path)
        api.clock.advance(31)
        first, second = api.json("/tenants/1/runs")
        assert (first["status"]["phase"], second["triggers"][0]["source"]) == ("Done", "Cron")
        reloaded(api, tmp_path)
        assert api.status(waiting) is None
        [current] = [api.json("/tenants")[0]["status"]["current_run"]]
        assert current["id"] == second["id"]


def test_the_last_of_runs_that_ended_at_once_stays_the_last(tmp_path: Path) -> None:
    """The scheduled run went first, although its id is higher."""
    with served(SCHEDULED) as api:
        api.emulator.runs.script(appears_after=0, phases=[("Running", 90)])
        api.sync()
        api.emulator.runs.script(appears_after=0, phases=[("Done", 0)])
        api.clock.advance(1)
        api.sync()
        api.clock.advance(90)
        before = api.json("/tenants")[0]["status"]
        assert len({run["completed_date"] for run in api.json("/tenants/1/runs")[:3]}) == 1
        reloaded(api, tmp_path)
        assert api.json("/tenants")[0]["status"] == before


def test_time_passes_while_no_emulator_is_running(tmp_path: Path) -> None:
    """A run that was in progress when saved has ended at its date, an hour later."""
    path = tmp_path / "state.json"
    with served({"integrations": [{}], "tenants": [{}]}) as api:
        api.emulator.runs.script(appears_after=1, phases=[("Running", 60), ("Succeeded", 0)])
        trigger = api.sync()
        api.clock.advance(2)
        assert api.status(trigger) == "Running"
        api.emulator.save(path)
        due = api.clock.wall() + timedelta(seconds=59)
        later = api.clock.wall() + timedelta(hours=1)
    with served() as api:
        api.clock.epoch = later
        api.emulator.load(path)
        assert api.status(trigger) == "Succeeded"
        [run] = api.json("/tenants/1/runs")
        assert datetime.fromisoformat(run["completed_date"]) == due


def test_a_schedule_starts_nothing_while_no_emulator_is_running(tmp_path: Path) -> None:
    """Missed dates of a schedule are skipped, and the next one is kept."""
    path = tmp_path / "state.json"
    with served({"integrations": [{"schedule": "* * * * *"}], "tenants": [{}]}) as api:
        api.clock.advance(120)
        api.emulator.save(path)
        later = api.clock.wall() + timedelta(days=365)
        assert len(api.json("/tenants/1/runs")) == 2
    with served() as api:
        api.clock.epoch = later
        api.emulator.load(path)
        assert len(api.json("/tenants/1/runs")) == 2
        api.clock.advance(60)
        assert len(api.json("/tenants/1/runs")) == 3


def test_the_clock_never_goes_back(tmp_path: Path) -> None:
    """A clock that is behind the date of a saved state is advanced to it."""
    path = tmp_path / "state.json"
    with served({"integrations": [{}], "tenants": [{}]}) as api:
        trigger = api.sync()
        api.clock.advance(3600)
        api.emulator.save(path)
        then = api.clock.wall()
    with served(path) as api:
        assert api.clock.wall() == then
        assert api.status(trigger) == "Succeeded"


def test_loading_begins_anew() -> None:
    """Loading and resetting both remove records, scripts, handlers and requests."""
    with served({"integrations": [{}], "tenants": [{"name": "first"}]}) as api:
        ways: list[Callable[[], None]] = [lambda: api.emulator.load("demo"), api.emulator.reset]
        for begin_anew in ways:
            api.emulator.connectors.register("crm", lambda _: 1)
            api.emulator.runs.script(appears_after=1e9)
            api.sync()
            begin_anew()
            assert not api.emulator.requests
            assert not api.emulator.counts
            trigger = api.sync()
            assert trigger == "1"
            api.clock.advance(60)
            assert api.status(trigger) == "Succeeded"
            assert call(api, 1)[0] == 400
        assert [one.name for one in api.emulator.tenants] == ["first"]


def test_a_bad_state_changes_nothing(tmp_path: Path) -> None:
    """Neither the records nor the clock change."""
    path = tmp_path / "state.json"
    with served({"integrations": [{}], "tenants": [{"name": "kept"}]}) as api:
        state = api.emulator._service.dump()
        state["saved_at"] = "2999-01-01T00:00:00Z"
        state["tenants"].append({"name": "No"})
        path.write_text(json.dumps(state))
        before = api.clock.wall()
        with pytest.raises(ValueError, match=r"tenants\[1\]\.name"):
            api.emulator.load(path)
        assert api.clock.wall() == before
        assert [one.name for one in api.emulator.tenants] == ["kept"]


def test_data_that_a_later_release_refuses_is_restored(tmp_path: Path) -> None:
    """Configs and metadata of a saved state need not match the schemas of the releases."""
    emulator = Emulator(state_file=tmp_path / "state.json")
    emulator.add_tenant(configs={"batch": 0}, metadata={"batch": 0})
    emulator.add_release(1, config_schema=LIMITS, metadata_schema=LIMITS, default=True)
    emulator.save()
    assert Emulator(tmp_path / "state.json").tenants == emulator.tenants
    with pytest.raises(ValueError, match=r"^configs\.batch"):
        emulator.add_tenant(configs={"batch": 0})


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """The old file is replaced only by a complete one, and a failure leaves no other file."""
    path = tmp_path / "state.json"
    emulator = Emulator("demo", state_file=path)
    emulator.save()
    first = path.read_text()
    with path.open() as old:
        emulator.add_tenant()
        emulator.save()
        assert old.read() == first
    second = path.read_text()
    assert second != first
    emulator.add_tenant(configs={"what": object()})
    with pytest.raises(TypeError):
        emulator.save()
    assert path.read_text() == second
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="absent"):
        emulator.reset()
        emulator.save(tmp_path / "absent" / "state.json")


def test_what_is_nested_too_deeply_for_a_file_is_a_clear_error(tmp_path: Path) -> None:
    """The old file is kept, and no other file is left."""
    path = tmp_path / "state.json"
    emulator = Emulator(state_file=path)
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    emulator.add_tenant(configs=deep)
    with pytest.raises(ValueError, match="nested too deeply"):
        emulator.save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Saving writes to the target of a symbolic link."""
    link, target = tmp_path / "link.yaml", tmp_path / "target"
    link.symlink_to(target)
    Emulator("demo").save(link)
    assert link.is_symlink()
    assert len(yaml.safe_load(target.read_text())["tenants"]) == len(Emulator("demo").tenants)


@pytest.mark.posix
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    """Saving does not let other users read a state file that they could not read before."""
    path = tmp_path / "state.json"
    path.touch(mode=0o600)
    Emulator("demo").save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class Moment(datetime):
    """A datetime of a library that replaces the clock in tests, such as freezegun."""


def test_datetimes_of_another_library_are_dates(tmp_path: Path) -> None:
    """A date that is an instance of a subclass of datetime is served and saved as any other."""
    date = Moment(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with served() as api:
        api.emulator.add_tenant("acme", created_date=date)
        shown = api.http.get("/v2/tenants").json()
        api.emulator.save(tmp_path / "state.json")
        api.emulator.load(tmp_path / "state.json")
        assert api.http.get("/v2/tenants").json() == shown
    assert shown[0]["created_date"] == "2026-01-02T03:04:05Z"


def test_without_a_path_there_must_be_a_state_file() -> None:
    """The error states what is missing."""
    with pytest.raises(ValueError, match="path: "):
        Emulator().save()


def test_ten_thousand_tenants_come_back_in_order(tmp_path: Path) -> None:
    """Tenants are listed in the order of their ids, whatever their order in the file."""
    path = tmp_path / "state.json"
    seed: dict[str, Any] = {"integrations": [{}], "tenants": [{}] * 10_000}
    emulator = Emulator(seed, state_file=path)
    emulator.save()
    state = json.loads(path.read_text())
    state["tenants"].reverse()
    path.write_text(json.dumps(state))
    assert Emulator(path).tenants == emulator.tenants


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(SAVED.read_text())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(pandium_emulator_state=1), "pandium_emulator_state: must be 2, not 1"),
        (lambda s: s.update(saved_at="soon"), "saved_at: "),
        (lambda s: s.update(what=[]), "what: "),
        (lambda s: s["integrations"][0].update(id=0), r"integrations\[0\]\.id: "),
        (lambda s: s["integrations"][1].update(id=1), r"integrations\[1\]\.id: is taken"),
        (lambda s: s["integrations"][0].update(schedule="x"), r"integrations\[0\]\.schedule: "),
        (lambda s: s["releases"][2].update(integration_id=9), r"releases\[2\]\.integration_id: no"),
        (
            lambda s: s["releases"][0].update(config_schema={"type": 1}),
            r"releases\[0\]\.config_schema\.type: ",
        ),
        (
            lambda s: s["releases"][0].update(metadata_schema={"type": 1}),
            r"releases\[0\]\.metadata_schema\.type: ",
        ),
        (lambda s: s["tenants"][1].update(name="No"), r"tenants\[1\]\.name: must be lowercase"),
        (lambda s: s["tenants"][1].update(paused="no"), r"tenants\[1\]\.paused: "),
        (lambda s: s["tenants"][1].update(integration_id=9), r"tenants\[1\]\.integration_id: no"),
        (
            lambda s: s["tenants"][1].update(integration_release_id=99),
            r"tenants\[1\]\.integration_release_id: ",
        ),
        (
            lambda s: s["tenants"][0].update(connected=["x"]),
            r"tenants\[0\]\.connected: the integration has no connector 'x'",
        ),
        (
            lambda s: s["tenants"][0].update(connection_dates={"crm": "soon"}),
            r"tenants\[0\]\.connection_dates\.crm: ",
        ),
        (lambda s: s["runs"][0].update(tenant_id=99), r"runs\[0\]\.tenant_id: no tenant"),
        (lambda s: s["runs"][0].update(integration_id=99), r"runs\[0\]\.integration_id: no"),
        (lambda s: s["runs"][0].update(triggers=[]), r"runs\[0\]\.triggers: "),
        (lambda s: s["runs"][0]["script"].update(phases=[]), r"runs\[0\]\.script\.phases: "),
        (lambda s: s["runs"][0].update(step=9), r"runs\[0\]\.step: exceeds the number"),
        (lambda s: s["runs"][0].update(step=0), r"runs\[0\]\.history: "),
        (lambda s: s["runs"][0].update(history=[]), r"runs\[0\]\.history: "),
        (
            lambda s: s["runs"][0]["history"][1].update(date="2020-01-01"),
            r"runs\[0\]\.history: must be in chronological",
        ),
        (
            lambda s: s["runs"][1].update(
                completed_date="2026-01-02", started_date=None, history=[], step=0
            ),
            r"runs\[1\]\.history: a completed run",
        ),
        (
            lambda s: s["runs"][1]["triggers"][0].update(id=1),
            r"runs\[1\]\.triggers\[0\]\.id: is taken",
        ),
        (lambda s: s["scripts"][0].update(appears_after=-1), r"scripts\[0\]\.appears_after: "),
        (lambda s: s["upstreams"][0].update(connector=5), r"upstreams\[0\]\.connector: "),
    ],
)
def test_a_bad_state_is_refused_at_its_place(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """The error's location is that of the invalid value or reference."""
    with pytest.raises(ValueError, match=f"^{message}"):
        Emulator(broken(change))


def test_a_date_without_an_offset_is_in_utc() -> None:
    """A date without an offset can be compared with all other dates."""
    state = broken(lambda s: s["tenants"][0].update(created_date="2026-01-01T00:00:00"))
    assert Emulator(state).tenants[0].created_date == datetime(2026, 1, 1, tzinfo=UTC)
