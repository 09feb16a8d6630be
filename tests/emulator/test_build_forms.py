"""The forms of a request for a build, over HTTP."""

from typing import Any, Literal

import pytest

from support.emulating import Api, served

Form = Literal["any", "build_tag", "tag"]

REFERENCE = ("?mode=normal", {"build_tag": "v2", "integration_id": 1})
PUBLIC_CLIENT = ("?mode=normal", {"tag": "v2", "integration_id": 1})
LATER = ("", {"tag": "v2", "integration_id": 1, "branch": "main"})
LATER_WITHOUT_BRANCH = ("", {"tag": "v2", "integration_id": 1})
BOTH_NAMES = ("?mode=init", {"tag": "v2", "build_tag": "v2", "integration_id": 1, "branch": "b"})


def build(api: Api, query: str, body: Any) -> tuple[int, Any]:
    response = api.http.post(f"/v2/sourcecontrol/build{query}", json=body)
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("request_form", "mode", "branch"),
    [
        (REFERENCE, "normal", None),
        (PUBLIC_CLIENT, "normal", None),
        (LATER, None, "main"),
        (LATER_WITHOUT_BRANCH, None, None),
        (BOTH_NAMES, "init", "b"),
    ],
)
def test_every_known_form_starts_a_build_by_default(
    request_form: tuple[str, dict[str, Any]], mode: str | None, branch: str | None
) -> None:
    """Every known form, and one with both names of the tag, returns a 201 and creates a release."""
    with served() as api:
        expected = {"integration_id": 1, "tag": "v2", "branch": branch, "mode": mode}
        assert build(api, *request_form) == (201, expected)
        api.clock.advance(1)
        assert api.json("/integrations/1/releases/latest")["tag"] == "v2"


@pytest.mark.parametrize(
    ("accepted", "request_form"),
    [
        ("build_tag", REFERENCE),
        ("tag", PUBLIC_CLIENT),
        ("tag", LATER),
        ("tag", LATER_WITHOUT_BRANCH),
    ],
)
def test_a_service_of_one_form_accepts_that_form(
    accepted: Form, request_form: tuple[str, dict[str, Any]]
) -> None:
    """Each of the two settings accepts the requests of its own form."""
    with served() as api:
        api.emulator.builds.accept(accepted)
        assert build(api, *request_form)[0] == 201


MISSING, UNEXPECTED = "Field required", "Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("accepted", "request_form", "faults"),
    [
        ("build_tag", PUBLIC_CLIENT, {"body.build_tag": MISSING, "body.tag": UNEXPECTED}),
        (
            "build_tag",
            LATER,
            {
                "query.mode": MISSING,
                "body.build_tag": MISSING,
                "body.tag": UNEXPECTED,
                "body.branch": UNEXPECTED,
            },
        ),
        ("build_tag", BOTH_NAMES, {"body.tag": UNEXPECTED, "body.branch": UNEXPECTED}),
        ("tag", REFERENCE, {"body.tag": MISSING, "body.build_tag": UNEXPECTED}),
        ("tag", BOTH_NAMES, {"body.build_tag": UNEXPECTED}),
    ],
)
def test_a_service_of_one_form_names_the_fields_of_another(
    accepted: Form, request_form: tuple[str, dict[str, Any]], faults: dict[str, str]
) -> None:
    """The 422 lists each missing and each unexpected field, and nothing is built."""
    with served() as api:
        api.emulator.builds.accept(accepted)
        message = "; ".join(f"{place}: {fault}" for place, fault in faults.items())
        assert build(api, *request_form) == (422, {"message": message})
        assert api.emulator.builds.pending == []


@pytest.mark.parametrize(
    ("query", "body", "place"),
    [
        ("?mode=other", {"build_tag": "v", "integration_id": 1}, "query.mode"),
        ("?mode=other", {"tag": "v", "integration_id": 1}, "query.mode"),
        ("", {"build_tag": "v", "integration_id": 1}, "query.mode"),
        ("?mode=init", {"integration_id": 1}, "body.build_tag"),
        ("?mode=init", {"tag": "v"}, "body.integration_id"),
        ("?mode=init", {"tag": "v", "integration_id": 1, "branch": 1}, "body.branch"),
        ("?mode=init", {"build_tag": "v", "integration_id": 9}, "body.integration_id"),
        ("?mode=init", [], "body"),
    ],
)
def test_an_invalid_build_is_refused_with_a_message(query: str, body: Any, place: str) -> None:
    """A build's 422 has a single message, which starts with the location of the error."""
    with served() as api:
        status, answer = build(api, query, body)
        assert (status, list(answer)) == (422, ["message"])
        assert answer["message"].startswith(f"{place}: ")


def test_a_number_that_json_cannot_represent_is_rejected() -> None:
    """A body with an infinite number is also rejected with a message."""
    with served() as api:
        headers = {"content-type": "application/json"}
        answer = api.http.post(
            "/v2/sourcecontrol/build?mode=init", content="[1e400]", headers=headers
        )
        assert (answer.status_code, list(answer.json())) == (422, ["message"])
