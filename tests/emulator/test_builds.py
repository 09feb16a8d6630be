"""Builds: when and how they become releases."""

from typing import Any

import pytest

from pandium.emulator import Build, BuildScript, Emulator
from support.emulating import LIMITS, Api, served


def build(api: Api, tag: str, integration_id: int = 1, **fields: Any) -> None:
    body = {"tag": tag, "integration_id": integration_id, **fields}
    assert api.http.post("/v2/sourcecontrol/build", json=body).status_code == 201


def tags(api: Api, integration_id: int = 1) -> list[str | None]:
    return [one["tag"] for one in api.json(f"/integrations/{integration_id}/releases")]


def test_a_build_becomes_the_latest_release_when_it_finishes() -> None:
    """The release has the build's tag and the schemas of the previous release."""
    with served() as api:
        api.emulator.add_integration(config_schema=LIMITS)
        build(api, "v9", 2)
        assert tags(api, 2) == [None]
        api.clock.advance(0.1)
        latest = api.json("/integrations/2/releases/latest")
        assert (latest["tag"], latest["name"], latest["config_schema"]) == ("v9", "v9", LIMITS)
        assert api.json("/integrations/2/releases/default")["tag"] is None


def test_an_integration_without_a_release_can_be_built() -> None:
    """The first build of an integration becomes its only release."""
    with served() as api:
        bare = api.emulator.add_integration(releases=0)
        build(api, "v1", bare.id)
        api.clock.advance(1)
        assert tags(api, bare.id) == ["v1"]


def test_a_release_has_the_branch_of_its_build() -> None:
    """The release shows the branch that was requested, or none."""
    with served() as api:
        build(api, "v1", branch="fix")
        build(api, "v2")
        api.clock.advance(1)
        branches = [
            one["repository_tracking_branch"] for one in api.json("/integrations/1/releases")
        ]
        assert branches == [None, "fix", None]


def test_a_script_sets_the_time_of_a_tag() -> None:
    """A tag follows its own script, and all other tags follow the common one."""
    with served() as api:
        api.emulator.builds.script(finishes_after=5)
        api.emulator.builds.script(tag="slow", finishes_after=60)
        build(api, "slow")
        build(api, "v2")
        api.clock.advance(4)
        assert tags(api) == [None]
        api.clock.advance(1)
        assert tags(api) == [None, "v2"]
        api.clock.advance(54)
        assert [one.tag for one in api.emulator.builds.pending] == ["slow"]
        api.clock.advance(1)
        assert tags(api) == [None, "v2", "slow"]
        assert api.emulator.builds.pending == []


def test_releases_have_the_dates_and_the_order_of_the_ends() -> None:
    """Releases have the dates at which their builds finished, even if nobody polled them."""
    with served() as api:
        epoch = api.clock.at(0)
        api.emulator.builds.script(tag="slow", finishes_after=60)
        api.emulator.builds.script(finishes_after=5)
        build(api, "slow")
        build(api, "v2")
        api.clock.advance(100)
        api.emulator.add_release(1, tag="by hand")
        rows = api.json("/integrations/1/releases")[1:]
        assert [one["tag"] for one in rows] == ["v2", "slow", "by hand"]
        ends = [api.clock.at(seconds).isoformat() for seconds in (5, 60, 100)]
        assert [one["created_date"].replace("Z", "+00:00") for one in rows] == ends
        assert epoch == api.clock.at(0)


def test_a_failing_build_never_becomes_a_release() -> None:
    """The build is accepted, and is no longer pending after its time."""
    with served() as api:
        api.emulator.builds.script(tag="v2", finishes_after=5, fails=True)
        build(api, "v2")
        [pending] = api.emulator.builds.pending
        assert pending == Build(integration_id=1, tag="v2", finishes_at=api.clock.at(5), fails=True)
        api.clock.advance(5)
        assert api.emulator.builds.pending == []
        assert tags(api) == [None]


def test_a_script_applies_only_to_later_builds() -> None:
    """A build that has started is not affected by a new script."""
    with served() as api:
        api.emulator.builds.script(finishes_after=5)
        build(api, "v1")
        api.emulator.builds.script(finishes_after=0)
        build(api, "v2")
        assert tags(api) == [None, "v2"]
        api.clock.advance(5)
        assert tags(api) == [None, "v2", "v1"]


def test_scripts_can_be_removed() -> None:
    """Without its own script, a tag follows the one for all others, or else the default one."""
    builds = Emulator().builds
    builds.script(finishes_after=9)
    builds.script(tag="v1", fails=True)
    assert builds.scripts == [BuildScript(finishes_after=9), BuildScript(tag="v1", fails=True)]
    builds.remove_script("v1")
    assert builds.scripts == [BuildScript(finishes_after=9)]
    with pytest.raises(LookupError, match="tag 'v1' has no script"):
        builds.remove_script("v1")
    builds.clear_scripts()
    assert builds.scripts == [BuildScript()]


def test_reset_removes_builds_scripts_and_the_accepted_form() -> None:
    """After a reset, any form is accepted, and no builds are pending."""
    with served() as api:
        api.emulator.builds.accept("tag")
        api.emulator.builds.script(finishes_after=60)
        build(api, "v1")
        api.emulator.reset()
        builds = api.emulator.builds
        assert (builds.accepted, builds.scripts, builds.pending) == ("any", [BuildScript()], [])
        api.clock.advance(100)
        assert tags(api) == [None]


def test_a_saved_state_has_the_builds_and_their_scripts() -> None:
    """A build that was pending when the state was saved finishes in another emulator."""
    with served() as first, served() as second:
        first.emulator.builds.script(tag="slow", finishes_after=60)
        first.emulator.builds.script(tag="bad", finishes_after=60, fails=True)
        build(first, "slow", branch="main")
        build(first, "bad")
        state = first.http.get("/_emulator/state").json()
        second.emulator.load(state)
        assert second.emulator.builds.pending == first.emulator.builds.pending
        assert second.emulator.builds.scripts == first.emulator.builds.scripts
        assert tags(second) == [None]
        second.clock.advance(100)
        assert tags(second) == [None, "slow"]


def test_a_seed_can_have_scripts_of_builds() -> None:
    """A build follows the script of its tag in the seed, also after a reset."""
    script = {"tag": "v1", "finishes_after": 60}
    with served({"builds": {"scripts": [script]}, "integrations": [{}]}) as api:
        for _ in range(2):
            build(api, "v1")
            build(api, "v2")
            api.clock.advance(1)
            assert tags(api) == [None, "v2"]
            api.emulator.reset()


def test_a_saved_build_of_an_unknown_integration_is_refused() -> None:
    """The error starts with the location of the build, and nothing is changed."""
    with served() as api:
        state = api.http.get("/_emulator/state").json()
        build(api, "v1")
        date = "2026-01-01T00:00:00Z"
        state["builds"]["pending"] = [{"integration_id": 9, "tag": "v", "finishes_at": date}]
        with pytest.raises(ValueError, match=r"^builds\.pending\[0\]\.integration_id: no integr"):
            api.emulator.load(state)
        assert [one.tag for one in api.emulator.builds.pending] == ["v1"]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"finishes_after": -1}, "finishes_after"),
        ({"finishes_after": float("inf")}, "finishes_after"),
        ({"finishes_after": float("nan")}, "finishes_after"),
        ({"finishes_after": "1"}, "finishes_after"),
        ({"tag": 1}, "tag"),
        ({"fails": 1}, "fails"),
    ],
)
def test_an_invalid_script_is_refused(options: dict[str, Any], place: str) -> None:
    """The error starts with the name of the argument, and the script is unchanged."""
    builds = Emulator().builds
    with pytest.raises(ValueError, match=f"^{place}: "):
        builds.script(**options)
    assert builds.scripts == [BuildScript()]


def test_an_unknown_form_is_refused() -> None:
    """The error lists the valid forms."""
    builds = Emulator().builds
    with pytest.raises(ValueError, match=r"^form: must be one of any, build_tag, tag, not 'both'$"):
        builds.accept("both")  # type: ignore[arg-type]  # bad on purpose
    assert builds.accepted == "any"
