"""Builds: the three forms of the request, and the wait for a release."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs

import attrs
import pytest

from pandium import (
    AsyncPandium,
    ConnectionLost,
    DecodeError,
    NotFound,
    Polling,
    Retry,
    ServerError,
    ValidationError,
    WaitTimeout,
)
from pandium._resources.releases import decode_tagged
from support import KEY
from support.servers import Behavior, Misbehaving, Wire, answer, reset, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandium.emulator import Emulator

pytestmark = pytest.mark.anyio

FAST = Polling(first=0, minimum=0.01, maximum=0.01, rate=1000)
PATH = "/v2/sourcecontrol/build"
# The fields that each form of the service knows, and those that it requires.
KNOWN = {
    "build_tag": {"build_tag", "integration_id", "mode"},
    "tag": {"tag", "integration_id", "branch"},
}
REQUIRED = {"build_tag": {"build_tag", "integration_id", "mode"}, "tag": {"tag", "integration_id"}}


def pydantic(unexpected: list[str], missing: list[str]) -> Any:
    """Report fields as FastAPI does."""
    extra = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in unexpected
    ]
    absent = [
        {"type": "missing", "loc": ["body", name], "msg": "Field required"} for name in missing
    ]
    return {"detail": extra + absent}


def marshmallow(unexpected: list[str], missing: list[str]) -> Any:
    """Report fields as marshmallow does."""
    rejected = {name: ["Unknown field."] for name in unexpected}
    return {"errors": rejected | {name: ["Missing data for required field."] for name in missing}}


def message(unexpected: list[str], missing: list[str]) -> Any:
    """Report fields in one sentence, as the vendor documents for a build."""
    return {"message": "; ".join([f"unexpected field {n}" for n in unexpected] + missing)}


@attrs.define
class BuildService:
    """A service that accepts one form, and either rejects or ignores fields of the other one."""

    accepted: str
    report: Callable[[list[str], list[str]], Any] = pydantic
    is_strict: bool = True
    built: Counter[str] = attrs.field(factory=Counter)
    received: list[dict[str, Any]] = attrs.field(factory=list)

    def behavior(self) -> Behavior:
        return Behavior("a build service", self._play, keeps=True)

    async def _play(self, wire: Wire) -> None:
        assert wire.request is not None
        query = {k: v[0] for k, v in parse_qs(wire.request.target.partition("?")[2]).items()}
        fields = {**json.loads(wire.request.body or b""), **query}
        self.received.append(fields)
        unexpected = sorted(fields.keys() - KNOWN[self.accepted]) if self.is_strict else []
        missing = sorted(REQUIRED[self.accepted] - fields.keys())
        if unexpected or missing:
            body = json.dumps(self.report(unexpected, missing)).encode()
            await wire.send(answer(body, "422 Unprocessable Content"))
        else:
            self.built[fields[self.accepted]] += 1
            await wire.send(answer(b'{"ok": true}', "201 Created"))


@pytest.mark.parametrize("accepted", ["build_tag", "tag"])
@pytest.mark.parametrize("report", [pydantic, marshmallow, message])
@pytest.mark.parametrize("is_strict", [True, False])
async def test_a_build_is_created_once_in_the_form_of_the_service(
    accepted: str, report: Callable[[list[str], list[str]], Any], *, is_strict: bool
) -> None:
    """Whichever form the service accepts, it builds once and receives the tag and the mode."""
    service = BuildService(accepted, report, is_strict)
    with Misbehaving(otherwise=service.behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            assert await client.builds.create(7, "v1", mode="normal") == {"ok": True}
    assert service.built == {"v1": 1}
    built = service.received[-1]
    assert (built[accepted], built["integration_id"]) == ("v1", 7)
    assert len(service.received) == (1 if not is_strict else 2 if accepted == "build_tag" else 3)
    assert built.get("mode") == (None if is_strict and accepted == "tag" else "normal")


async def test_the_first_form_contains_the_fields_of_both_forms() -> None:
    """The tag is sent under both names, together with the mode and the branch."""
    service = BuildService("tag", is_strict=False)
    with Misbehaving(otherwise=service.behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            await client.builds.create(7, "v1", mode="init", branch="main")
            await client.builds.create(7, "v2")
    first, second = service.received
    tags = {"build_tag": "v1", "tag": "v1"}
    assert first == {**tags, "branch": "main", "mode": "init", "integration_id": 7}
    assert second == {"build_tag": "v2", "tag": "v2", "integration_id": 7}


@pytest.mark.parametrize("accepted", ["any", "build_tag", "tag"])
@pytest.mark.parametrize("mode", ["init", None])
async def test_one_release_appears_whichever_form_is_accepted(
    accepted: Literal["any", "build_tag", "tag"],
    mode: str | None,
    client: AsyncPandium,
    emulator: Emulator,
) -> None:
    """A build in any form becomes one release. Only the reference's form requires a mode."""
    emulator.builds.accept(accepted)
    emulator.builds.script(finishes_after=0)
    if accepted == "build_tag" and mode is None:
        with pytest.raises(ValidationError, match="mode: Field required"):
            await client.builds.create(1, "v2")
    else:
        await client.builds.create(1, "v2", mode=mode)
        assert (await client.builds.wait(1, "v2", poll=FAST)).tag == "v2"
        assert [r.tag for r in await client.releases.list(1)].count("v2") == 1


@pytest.mark.parametrize("accepted", ["any", "tag"])
async def test_a_branch_is_built(
    accepted: Literal["any", "tag"], client: AsyncPandium, emulator: Emulator
) -> None:
    """The branch reaches each form of the service that has branches."""
    emulator.builds.accept(accepted)
    emulator.builds.script(finishes_after=1000)
    await client.builds.create(1, "v2", mode="normal", branch="feature")
    assert [(build.tag, build.branch) for build in emulator.builds.pending] == [("v2", "feature")]


@pytest.mark.parametrize("accepted", ["build_tag", "tag"])
async def test_views_share_the_form_that_worked(accepted: str) -> None:
    """The form that worked is the only one sent from then on, by the client and by its views."""
    service = BuildService(accepted)
    with Misbehaving(otherwise=service.behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            before = client.with_options(timeout=5)
            await before.builds.create(7, "v1", mode="normal")
            service.received.clear()
            await client.builds.create(7, "v2", mode="normal")
            await client.with_options(timeout=5).builds.create(7, "v3", mode="normal")
            await before.builds.create(7, "v4", mode="normal")
    assert len(service.received) == 3
    assert service.built == dict.fromkeys(["v1", "v2", "v3", "v4"], 1)


async def test_a_remembered_form_is_replaced_when_the_service_changes() -> None:
    """If the service starts to reject the form that worked, the other forms are tried again."""
    service = BuildService("build_tag")
    with Misbehaving(otherwise=service.behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            await client.builds.create(7, "v1", mode="normal")
            service.accepted = "tag"
            await client.builds.create(7, "v2", mode="normal")
    assert service.built == {"v1": 1, "v2": 1}


async def test_a_branch_is_never_dropped() -> None:
    """A service without branches does not build another branch: the last error is raised."""
    service = BuildService("build_tag")
    with Misbehaving(otherwise=service.behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            await client.builds.create(7, "v1", mode="normal")  # this form is now remembered
            with pytest.raises(ValidationError, match=r"body\.branch: Extra inputs") as caught:
                await client.builds.create(7, "v2", mode="normal", branch="main")
    assert service.built == {"v1": 1}
    assert all("branch" in received for received in service.received[2:])
    assert "body.tag: Extra" in str(caught.value), "the last form, which is the later one"


async def test_a_missing_mode_is_the_error_that_is_raised() -> None:
    """If the service requires a mode, the error says so instead of naming unknown fields."""
    with Misbehaving(otherwise=BuildService("build_tag").behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with pytest.raises(ValidationError) as caught:
                await client.builds.create(7, "v1")
    assert caught.value.message == "body.mode: Field required"


@pytest.mark.parametrize(
    "body",
    [
        b'{"message": "field value not allowed: tag v1 is already built"}',
        b'{"message": "integration 7 does not exist"}',
        b'{"message": "an unknown tag: v1"}',
        b'{"detail": [{"loc": ["query", "mode"], "msg": "not a mode", "type": "enum"}]}',
        b"extra!",
        # If any distance between the words counted, a hostile text could take hours to search.
        b'{"message": "field ' + b"x" * 100 + b' not allowed"}',
    ],
)
async def test_another_422_is_raised_at_once(body: bytes) -> None:
    """A 422 response that does not report an unexpected field is raised after one request."""
    with Misbehaving(otherwise=status("422 Unprocessable Content", body)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with pytest.raises(ValidationError):
                await client.builds.create(7, "v1", mode="normal")
    assert server.seen == 1


@pytest.mark.parametrize(
    ("behavior", "error"),
    [(reset("all"), ConnectionLost), (status("503 Service Unavailable"), ServerError)],
)
async def test_a_build_is_not_sent_again_if_it_may_have_been_created(
    behavior: Behavior, error: type[Exception]
) -> None:
    """After a lost response or a server error, no other form is sent."""
    with Misbehaving(behavior) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with pytest.raises(error) as caught:
                await client.builds.create(7, "v1", mode="normal")
    assert server.seen == 1
    assert caught.value.outcome_unknown  # type: ignore[attr-defined]  # both are PandiumErrors


async def test_a_rate_limit_between_the_forms_is_retried() -> None:
    """A 429 response to one of the forms is retried in that form, and the build is created once."""
    service = BuildService("build_tag")
    limited = status("429 Too Many Requests")
    behaviors = [limited, service.behavior(), limited]
    with Misbehaving(*behaviors, otherwise=service.behavior()) as server:
        async with AsyncPandium(KEY, base_url=server.url, retry=Retry(initial=0)) as client:
            await client.builds.create(7, "v1", mode="normal")
    assert (server.seen, service.built) == (4, {"v1": 1})


# Waiting for the release

LISTED = b'[{"id": 3, "name": "a", "config_version": "1", "tag": "v1"}]'
OTHERS = b'[{"id": 1, "name": "v1", "config_version": "1"}]'


def listed(releases: bytes) -> Behavior:
    """Return a list of releases."""
    return Behavior("releases", lambda wire: wire.send(answer(releases)), keeps=True)


async def test_a_wait_returns_the_release_of_a_build(client: AsyncPandium) -> None:
    """A build that was created appears as a release with its tag, which `wait` returns."""
    await client.builds.create(1, "v2", mode="normal")
    release = await client.builds.wait(1, "v2", poll=FAST)
    assert release.tag == "v2"
    assert release in await client.releases.list(1)


async def test_a_wait_polls_until_the_release_is_listed() -> None:
    """`wait` polls the releases of the integration until one of them has the tag."""
    with Misbehaving(listed(b"[]"), listed(OTHERS), otherwise=listed(LISTED)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            release = await client.builds.wait(7, "v1", poll=FAST)
    assert (release.id, release.tag, server.seen) == (3, "v1", 3)
    assert server.arrived == {("GET", "/v2/integrations/7/releases"): 3}


@pytest.mark.parametrize("other", ['{"id": 2, "tag": "v2"}', '"v1"', "7", "null"])
async def test_an_invalid_release_with_another_tag_does_not_prevent_a_wait_from_ending(
    other: str,
) -> None:
    """A wait returns the release with its tag, even if another entry of the list is invalid."""
    releases = f"[{other}, {LISTED.decode()[1:]}".encode()
    with Misbehaving(otherwise=listed(releases)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            assert (await client.builds.wait(7, "v1", timeout=5, poll=FAST)).id == 3
            with pytest.raises(DecodeError):
                await client.releases.list(7)


@pytest.mark.parametrize("releases", [b'[{"id": 2, "tag": "v1"}]', b"{}", b"[", b'[{"id": 2}]'])
async def test_a_wait_names_what_is_invalid_at_its_time_limit(releases: bytes) -> None:
    """If no valid release has the tag, the error names the invalid part of the response."""
    with Misbehaving(otherwise=listed(releases)) as server:
        async with AsyncPandium(KEY, base_url=server.url) as client:
            with pytest.raises(WaitTimeout, match=r"the response (cannot be decoded|is not valid)"):
                await client.builds.wait(7, "v1", timeout=0.05, poll=FAST)


def test_an_invalid_release_of_any_depth_is_named() -> None:
    """An invalid release with the tag is a `DecodeError`, however deeply it is nested."""
    for depth in range(1200):
        content = f'[{{"id": 1, "tag": "v1", "x": {"[" * depth}{"]" * depth}}}]'.encode()
        with pytest.raises(DecodeError):
            decode_tagged(content, "v1")


@pytest.mark.parametrize("tag", ["", " v1", "v1\n", ".", "..", "\ud800", 1, None])
async def test_an_invalid_tag_is_named(client: AsyncPandium, emulator: Emulator, tag: Any) -> None:
    """A tag that cannot be waited for is an error that names it, before anything is sent."""
    with pytest.raises(ValueError, match=r"^tag must"):
        await client.builds.create(1, tag, mode="normal")
    with pytest.raises(ValueError, match=r"^tag must"):
        await client.builds.wait(1, tag)
    assert len(emulator.requests) == 0


async def test_the_newest_release_with_the_tag_is_returned(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """If several releases have the tag, the one with the highest id is returned."""
    releases = [emulator.add_release(1, tag="v2") for _ in range(2)]
    emulator.add_release(1, tag="v3")
    assert (await client.builds.wait(1, "v2", poll=FAST)).id == max(one.id for one in releases)


async def test_a_wait_ends_at_the_time_limit(client: AsyncPandium) -> None:
    """At the time limit, WaitTimeout names the tag and the number of polls."""
    with pytest.raises(WaitTimeout, match=r"no release has the tag 'v9' after 0\.05 s") as caught:
        await client.builds.wait(1, "v9", timeout=0.05, poll=FAST)
    assert (caught.value.trigger_id, caught.value.last_status) == ("v9", None)
    assert caught.value.polls > 0


async def test_a_wait_for_an_integration_that_does_not_exist_ends_at_once(
    client: AsyncPandium, emulator: Emulator
) -> None:
    """A 404 response means that there is no such integration, so it is raised."""
    with pytest.raises(NotFound):
        await client.builds.wait(99, "v2", poll=FAST)
    assert len(emulator.requests) == 1


async def test_a_transient_error_does_not_end_a_wait(caplog: pytest.LogCaptureFixture) -> None:
    """The wait continues after an outage, which is logged, and names it at the time limit."""
    failed = status("503 Service Unavailable")
    with Misbehaving(failed, failed, otherwise=listed(LISTED)) as server:
        async with AsyncPandium(KEY, base_url=server.url, retry=Retry.never()) as client:
            assert (await client.builds.wait(7, "v1", poll=FAST)).id == 3
            server.play([], failed)
            with pytest.raises(WaitTimeout, match=r"the last poll failed: GET .* 503"):
                await client.builds.wait(7, "v1", timeout=0.05, poll=FAST)
    assert "polling the releases for build v1 failed: GET" in caplog.text
