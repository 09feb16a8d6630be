"""The control API's routes for builds."""

from collections.abc import Iterator

import pytest

from support.control import Control, controlled


@pytest.fixture
def control() -> Iterator[Control]:
    with controlled() as control:
        yield control


BUILD = {"tag": "v1", "integration_id": 1}
DEFAULT = {"tag": None, "finishes_after": 0.1, "fails": False}


def test_one_form_can_be_accepted_alone(control: Control) -> None:
    """The other form is rejected from then on."""
    assert control("PUT", "/builds/accept", json={"form": "build_tag"})["accept"] == "build_tag"
    assert control.api("POST", "/sourcecontrol/build", json=BUILD).status_code == 422
    control("PUT", "/builds/accept", json={"form": "any"})
    assert control.api("POST", "/sourcecontrol/build", json=BUILD).status_code == 201


def test_scripts_and_pending_builds_are_shown(control: Control) -> None:
    """A script is set for a tag, and a build that has not finished shows its date."""
    script = {"tag": "v1", "finishes_after": 60, "fails": True}
    shown = control("PUT", "/builds/scripts", json=script)
    assert shown == {"accept": "any", "scripts": [DEFAULT, script], "pending": []}
    control.api("POST", "/sourcecontrol/build", json={**BUILD, "branch": "main"})
    [pending] = control("GET", "/builds")["pending"]
    assert pending == {
        "integration_id": 1,
        "tag": "v1",
        "branch": "main",
        "fails": True,
        "finishes_at": control.emulator.clock.at(60).isoformat().replace("+00:00", "Z"),
    }


def test_one_script_or_all_scripts_are_removed(control: Control) -> None:
    """With a tag, only its script is removed. Without one, all are, as for runs."""
    for tag in (None, "v1", "v2"):
        control("PUT", "/builds/scripts", json={"tag": tag, "finishes_after": 9})
    changed = [{"tag": tag, "finishes_after": 9, "fails": False} for tag in (None, "v2")]
    control("DELETE", "/builds/scripts", 204, params={"tag": "v1"})
    assert control("GET", "/builds")["scripts"] == changed
    control("DELETE", "/builds/scripts", 204)
    assert control("GET", "/builds")["scripts"] == [DEFAULT]


def test_a_script_that_does_not_exist_cannot_be_removed(control: Control) -> None:
    """An unknown tag is a 404, and an unknown parameter a 422. Both leave the scripts."""
    control("PUT", "/builds/scripts", json={"finishes_after": 9})
    before = control("GET", "/builds")
    assert control.refused("DELETE", "/builds/scripts?tag=v1", 404) == ["path"]
    assert control.refused("DELETE", "/builds/scripts?tags=v1") == ["query.tags"]
    assert control("GET", "/builds") == before


def test_what_is_invalid_is_refused_by_its_place(control: Control) -> None:
    """The errors name the field, and nothing is changed."""
    before = control("GET", "/builds")
    assert control.refused("PUT", "/builds/accept", json={"form": "both"}) == ["form"]
    for script, place in (({"finishes_after": -1}, "finishes_after"), ({"other": 1}, "other")):
        assert control.refused("PUT", "/builds/scripts", json=script) == [place]
    assert control("GET", "/builds") == before
